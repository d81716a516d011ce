//! Asks AWS what a run would ask first, for `doctor`, without making anything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::ProvideCredentials as _;
use jiff::Timestamp;

use super::{Patience, caller, configuration, launch};
use crate::base::instance_spec::InstanceSpec;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::exec::shell::{NoopObserver, new_key};
use crate::targets::aws_error::{AwsError, Class, unsent};
use crate::targets::cloud::{PublicRegistry as _, aws_name};
use crate::targets::ecr::Ecr;

/// The time limit for one answer. Each call is tried twice, and twice as long is soon enough for an interactive user.
const ANSWER: Duration = Duration::from_secs(5);
const NO_RUN: &str = "doctor";

/// Checks AWS before a run, with the calls that a run begins with.
#[derive(Debug)]
pub struct AwsPreflight {
    config: SdkConfig,
    client: Client,
    order: InstanceSpec,
    settings: Settings,
}

impl AwsPreflight {
    /// Loads the SDK's configuration as a run does. Sends no request to EC2 yet.
    pub async fn open(order: &InstanceSpec, settings: &Settings) -> AwsPreflight {
        let config = configuration(Patience { answer: ANSWER, ..Patience::default() }, None, None).await;
        let config = config.to_builder().retry_config(RetryConfig::standard().with_max_attempts(2)).build();
        AwsPreflight { client: Client::new(&config), config, order: order.clone(), settings: settings.clone() }
    }

    pub fn region(&self) -> Option<&str> {
        self.config.region().map(|region| region.as_ref())
    }

    /// Returns the credentials that AWS would see: the end of the key's id, and the account and expiry if known.
    pub async fn credentials(&self) -> anyhow::Result<String> {
        let provider = self.config.credentials_provider().context("no credentials are set: set AWS_PROFILE")?;
        let found = provider.provide_credentials().await;
        let found = found.map_err(|error| unsent("asking for credentials", &error))?;
        let id = found.access_key_id();
        let end = id.char_indices().rev().nth(3).map_or(id, |(place, _)| &id[place..]);
        let expiry = found.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok());
        let expiry = expiry.map(|expiry| format!(", good until {expiry:.0}")).unwrap_or_default();
        let account = found.account_id().map(|id| format!(" of account {}", id.as_str())).unwrap_or_default();
        Ok(format!("the access key that ends with {end}{account}{expiry}"))
    }

    pub async fn image(&self) -> anyhow::Result<String> {
        let images = launch::images(&self.client, self.region().unwrap_or_default()).await?;
        Ok(format!("{} of {}", images[0].id, images[0].created))
    }

    pub async fn places(&self) -> anyhow::Result<String> {
        let places = launch::places(&self.client, &self.order).await?;
        Ok(places.into_iter().map(|place| place.zone).collect::<Vec<_>>().join(", "))
    }

    /// Checks by dry runs whether EC2 would make a key pair and a security group, each with the tags of a run.
    pub async fn making(&self) -> anyhow::Result<String> {
        let places = launch::places(&self.client, &self.order).await?;
        let public_key = new_key(NO_RUN)?.0.public_key().to_openssh()?;
        let launch = launch::Launch {
            client: &self.client,
            name: aws_name(NO_RUN),
            order: &self.order,
            run: NO_RUN,
            expires: Timestamp::now().as_second(),
            progress: &Progress::to(|_| {}),
        };
        launch.may_make(&places[0], &public_key).await?;
        Ok("a key pair and a security group with tags (only asked)".to_owned())
    }

    /// Checks whether the account's ECR Public accepts our login and a request for a repository.
    pub async fn repositories(&self) -> anyhow::Result<String> {
        let ecr = Ecr::open(&self.config, &self.settings.fake_aws);
        ecr.login_password().await?;
        ecr.find(NO_RUN).await?;
        Ok(format!("lets us log in; images go to {}", ecr.host()))
    }

    pub async fn address(&self) -> anyhow::Result<String> {
        Ok(caller(&self.settings, Arc::new(NoopObserver)).await?.to_string())
    }

    /// Explains an error, with the remedy unless the error names it, and returns whether other checks may still succeed.
    pub fn failure(&self, error: &anyhow::Error) -> (String, Option<String>, bool) {
        let Some(error) = error.downcast_ref::<AwsError>() else { return (format!("{error:#}"), None, true) };
        let unreached = error.class == Class::NoAnswer && error.code.is_none();
        let remedy = if unreached { Some(self.way_there()) } else { error.remedy() };
        (error.happened.clone(), remedy, error.of_one_call())
    }

    fn way_there(&self) -> String {
        match (&self.settings.fake_aws.endpoint, self.region()) {
            (Some(endpoint), _) => format!("see that {endpoint} can be reached, or unset AWS_ENDPOINT_URL to ask AWS"),
            (None, Some(region)) => format!(
                "see that {region} is a region of AWS's (AWS_REGION), and that https://ec2.{region}.amazonaws.com can \
                 be reached from here"
            ),
            (None, None) => "set AWS_REGION".to_owned(),
        }
    }
}
