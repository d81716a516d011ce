//! Describes a repository in ECR Public as plain values, which need neither an account nor the SDK.

use jiff::Timestamp;

pub const PUBLIC: &str = "public.ecr.aws";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name: `assay-<run>`.
    pub name: String,
    /// Its address as ECR Public returns it: `public.ecr.aws/<alias>/<name>`.
    pub uri: String,
    pub arn: String,
    pub run: String,
    /// When anyone may remove it; `None` if its tag holds no valid time.
    pub expires: Option<Timestamp>,
    pub created: Option<Timestamp>,
}

impl Repository {
    /// Returns its address at another host and port that lead to the same registry.
    pub fn at(&self, host: &str) -> String {
        match self.uri.strip_prefix(PUBLIC) {
            Some(rest) => format!("{host}{rest}"),
            None => self.uri.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// There is one already; with the API's code and message.
    #[error("{0}")]
    Taken(String),
    /// Any other reason; it may exist all the same, if only the answer was lost.
    #[error("{0}")]
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The registry was reached and rejects the request.
    #[error("the registry refuses: {0}")]
    Unauthorized(String),
    /// Anything else: no connection, a time-out, too many requests, a payload that is not an image.
    #[error("the registry was not asked or did not answer: {0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_the_same_path_wherever_its_registry_is() {
        let repository = Repository {
            name: "assay-r1".to_owned(),
            uri: "public.ecr.aws/x1y2z3a4/assay-r1".to_owned(),
            arn: "arn:aws:ecr-public::123456789012:repository/assay-r1".to_owned(),
            run: "r1".to_owned(),
            expires: None,
            created: None,
        };
        assert_eq!(repository.at(PUBLIC), repository.uri);
        assert_eq!(repository.at("127.0.0.1:5000"), "127.0.0.1:5000/x1y2z3a4/assay-r1");
        let elsewhere = Repository { uri: "registry.example.org/assay-r1".to_owned(), ..repository };
        assert_eq!(elsewhere.at("127.0.0.1:5000"), elsewhere.uri, "what is not there is not looked for there");
    }
}
