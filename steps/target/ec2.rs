//! Instances in EC2, and all that is made for them: nothing of it outlives its run.

pub mod error;
pub mod gc;
pub mod teardown;
pub mod things;

use aws_config::SdkConfig;

/// The SDK's configuration, by its own chain: region, profile, credentials, endpoint.
pub async fn configuration() -> SdkConfig {
    aws_config::load_from_env().await
}
