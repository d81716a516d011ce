//! Classifies errors of AWS and its SDK, and names the remedy.

use std::error::Error;
use std::fmt::Debug;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// There are no credentials, or AWS does not know them.
    NoCredentials,
    Expired,
    NoRegion,
    /// The credentials are valid, but do not allow an action.
    Forbidden {
        /// As IAM writes it: `ec2:CreateTags`. It may differ from the call.
        action: String,
    },
    /// Too many requests; the SDK's own retries are used up.
    Throttled,
    /// This zone has no such machine now, or never has; another zone may have it.
    Capacity,
    /// The account may not have more of these; another zone does not help.
    Quota,
    /// No answer, or an unreadable one: the request may have been carried out or not.
    NoAnswer,
    Other,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{happened}{}", self.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct AwsError {
    pub class: Class,
    /// AWS's own code: `InsufficientInstanceCapacity`; `None` if AWS did not answer.
    pub code: Option<String>,
    /// The call, and why it failed in AWS's own words.
    pub happened: String,
}

impl AwsError {
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether other calls may still succeed; without credentials, a region or a connection none does.
    pub fn of_one_call(&self) -> bool {
        match self.class {
            Class::NoCredentials | Class::Expired | Class::NoRegion => false,
            Class::NoAnswer => self.code.is_some(),
            _ => true,
        }
    }

    pub fn remedy(&self) -> Option<String> {
        let remedy = match &self.class {
            Class::NoCredentials => {
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (of a role: AWS_SESSION_TOKEN too), or \
                 log in with `aws sso login`"
            }
            Class::Expired => {
                "log in again (`aws sso login`, or new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN), \
                 and see that this host's clock is right"
            }
            Class::NoRegion => "set AWS_REGION, or `region` of the profile",
            Class::Forbidden { action } => {
                return Some(format!("the credentials must allow {action}: see ci/aws/policy.json"));
            }
            Class::Throttled => "the account asks AWS too often: try again in a minute",
            Class::Capacity => "another zone or kind of instance may be had",
            Class::Quota => {
                "the account's quota is used up: end what is not needed, or ask AWS for more (Service Quotas)"
            }
            Class::NoAnswer => {
                "whether it was done is not known: see that AWS, or what AWS_ENDPOINT_URL names, can be reached"
            }
            Class::Other => return None,
        };
        Some(remedy.to_owned())
    }
}

/// Awaits a call of an SDK, and explains its error; `action` is the call as IAM writes it: `ec2:RunInstances`.
pub async fn explained<T, E, R>(
    action: &str,
    call: impl Future<Output = Result<T, SdkError<E, R>>>,
) -> Result<T, AwsError>
where
    E: Error + ProvideErrorMetadata + 'static,
    R: Debug,
{
    call.await.map_err(|error| explain(action, &error))
}

fn explain<E, R>(action: &str, error: &SdkError<E, R>) -> AwsError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: Debug,
{
    let Some(code) = error.code() else {
        let unsent = unsent(action, error);
        return match error {
            // An answer without a code comes from a gateway or a proxy.
            SdkError::ServiceError(_) | SdkError::ResponseError(_) | SdkError::TimeoutError(_) => {
                AwsError { class: Class::NoAnswer, ..unsent }
            }
            _ => unsent,
        };
    };
    let message = error.message().unwrap_or_default();
    AwsError {
        class: answered(action, code, message),
        code: Some(code.to_owned()),
        happened: format!("{action} failed: {code}: {}", without_blob(message)),
    }
}

/// Explains an error of the SDK's own, perhaps before anything was sent.
pub fn unsent(action: &str, error: &dyn Error) -> AwsError {
    let why = chain(error);
    AwsError { class: failed_here(&why.to_lowercase()), code: None, happened: format!("{action} failed: {why}") }
}

fn failed_here(why: &str) -> Class {
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if has(&["credential", "sso", "profile", "identity", "token"]) && why.contains("expired") {
        Class::Expired
    } else if has(&["credential", "no identity", "identity resolver"]) {
        Class::NoCredentials
    } else if has(&["missing region", "region must be set", "no region"]) {
        Class::NoRegion
    } else {
        Class::NoAnswer
    }
}

fn answered(action: &str, code: &str, message: &str) -> Class {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => Class::Expired,
        "InvalidClientTokenId" | "UnrecognizedClientException" => Class::NoCredentials,
        _ if code.contains("AuthenticationToken") || code.contains("Signature") => Class::NoCredentials,
        // The code has two meanings, which only the message distinguishes.
        "AuthFailure" if message.contains("credentials") || message.contains("sign") => Class::NoCredentials,
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => {
            Class::Forbidden { action: "iam:CreateServiceLinkedRole".to_owned() }
        }
        "AuthFailure" | "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            Class::Forbidden { action: missing(message).unwrap_or(action).to_owned() }
        }
        "RequestLimitExceeded" | "TooManyRequestsException" | "SlowDown" => Class::Throttled,
        _ if code.contains("Throttl") => Class::Throttled,
        "InsufficientInstanceCapacity" | "InsufficientCapacity" | "InsufficientHostCapacity" | "SpotMaxPriceTooLow" => {
            Class::Capacity
        }
        // "Your requested instance type (t4g.nano) is not supported in your requested Availability Zone".
        "Unsupported" if message.contains("Availability Zone") => Class::Capacity,
        "ServerException" | "ServiceUnavailable" | "Unavailable" => Class::NoAnswer,
        _ if code.starts_with("Internal") => Class::NoAnswer,
        _ if code.ends_with("LimitExceeded") || code.ends_with("LimitExceededException") => Class::Quota,
        "MaxSpotInstanceCountExceeded" => Class::Quota,
        _ => Class::Other,
    }
}

/// Returns the action that a refusal names: "User: … is not authorized to perform: ec2:CreateTags on resource: …".
fn missing(message: &str) -> Option<&str> {
    let action = message.split_once("not authorized to perform: ")?.1.split_whitespace().next()?;
    action.contains(':').then_some(action)
}

/// Returns a refusal's message without its encoded part, which is long and unreadable.
fn without_blob(message: &str) -> &str {
    message.split("Encoded authorization failure message").next().unwrap_or(message).trim_end_matches([' ', '.'])
}

/// Joins an error with its sources, which hold an SDK's own words.
fn chain(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |&error| error.source()) {
        let all = error.to_string();
        // After this comes the list of sources where the SDK looked for credentials, one a line: none had any.
        let text = all.split("Attempted:").next().unwrap_or_default().trim_end_matches([' ', '.', '\n']);
        // Some errors repeat their source, or say nothing.
        let new = !texts.last().is_some_and(|last| last.contains(text));
        if new && !["dispatch failure", "failed to construct request", "other", "service error"].contains(&text) {
            texts.push(text.to_owned());
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::error::ErrorMetadata;

    fn answer(action: &str, code: &str, message: &str) -> AwsError {
        let error = ErrorMetadata::builder().code(code).message(message).build();
        explain(action, &SdkError::service_error(error, ()))
    }

    #[test]
    fn a_refusal_names_the_action_that_is_missing_and_where_it_is_allowed() {
        let message = "You are not authorized to perform this operation. User: arn:aws:iam::123:user/ci is not authorized to \
                    perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:123:instance/* because no identity-based \
                    policy allows the ec2:CreateTags action. Encoded authorization failure message: AbCdEf";
        let error = answer("ec2:RunInstances", "UnauthorizedOperation", message);
        assert_eq!(error.class, Class::Forbidden { action: "ec2:CreateTags".to_owned() });
        assert!(error.is("UnauthorizedOperation"));
        let text = error.to_string();
        assert!(text.starts_with("ec2:RunInstances failed: UnauthorizedOperation: You are not"), "{text}");
        assert!(text.ends_with("the credentials must allow ec2:CreateTags: see ci/aws/policy.json"), "{text}");
        assert!(!text.contains("AbCdEf"), "{text}");

        let terse = answer("ec2:RunInstances", "UnauthorizedOperation", "You are not authorized.");
        assert_eq!(terse.class, Class::Forbidden { action: "ec2:RunInstances".to_owned() });
    }

    #[test]
    fn codes_fall_into_the_classes_that_are_acted_on() {
        let class = |code: &str, message: &str| answer("ec2:RunInstances", code, message).class;
        assert_eq!(class("RequestExpired", "Request has expired."), Class::Expired);
        let unknown = "AWS was not able to validate the provided access credentials";
        assert_eq!(class("AuthFailure", unknown), Class::NoCredentials);
        assert!(matches!(class("AuthFailure", "Not authorized for images: [ami-1]"), Class::Forbidden { .. }));
        assert_eq!(class("RequestLimitExceeded", ""), Class::Throttled, "not a quota");
        assert_eq!(class("VcpuLimitExceeded", ""), Class::Quota);
        assert_eq!(class("InsufficientInstanceCapacity", ""), Class::Capacity);
        let zone = "Your requested instance type (t4g.nano) is not supported in your requested Availability Zone";
        assert_eq!(class("Unsupported", zone), Class::Capacity);
        assert_eq!(class("Unsupported", "The requested configuration is not supported"), Class::Other);
        assert_eq!(class("ServiceUnavailable", ""), Class::NoAnswer);
        assert_eq!(class("DependencyViolation", ""), Class::Other);
    }

    #[test]
    fn errors_before_and_after_sending_are_distinguished() {
        let error = |text: &str| {
            let failure = SdkError::<ErrorMetadata, ()>::construction_failure(text.to_owned());
            explain("ec2:DescribeInstances", &failure)
        };
        assert_eq!(error("the credential provider was not enabled").class, Class::NoCredentials);
        assert_eq!(error("the SSO token has expired and cannot be refreshed").class, Class::Expired);
        assert_eq!(error("Invalid Configuration: Missing Region").class, Class::NoRegion);
        let slow = SdkError::<ErrorMetadata, ()>::timeout_error("operation timeout".to_owned());
        let slow = explain("ec2:RunInstances", &slow);
        assert_eq!((slow.class.clone(), slow.code.clone(), slow.of_one_call()), (Class::NoAnswer, None, false));
        assert!(slow.to_string().contains("operation timeout"), "{slow}");
    }
}
