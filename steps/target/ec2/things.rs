//! Stub.
use super::error::Trouble;
use aws_sdk_ec2::Client;
/// A thing.
pub struct Thing {
    /// Kind.
    pub kind: String,
    /// Id.
    pub id: String,
}
/// List.
pub async fn list(_: &Client, _: Option<&str>) -> Result<Vec<Thing>, Trouble> {
    Ok(vec![])
}
