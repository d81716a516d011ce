//! Creates an ECR Public repository for a run, pushes with a login and pulls without one.

use anyhow::{Context, anyhow};
use aws_config::{Region, SdkConfig};
use aws_sdk_ecrpublic::Client;
use aws_sdk_ecrpublic::config::Builder;
use aws_sdk_ecrpublic::primitives::DateTime;
use aws_sdk_ecrpublic::types::{Repository as Described, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::base::settings::FakeAws;
use crate::targets::aws_error::{AwsError, explained};
use crate::targets::cloud::{
    AwsFuture, Denial, EXPIRES_TAG, NotMade, PUBLIC, PublicRegistry, RUN_TAG, Repository, aws_name,
};

/// The region of ECR Public's API, which is the only one in the world.
pub const REGION: &str = "us-east-1";

/// The API's error code for a repository that does not exist.
const NOT_FOUND: &str = "RepositoryNotFoundException";

#[derive(Clone, Debug)]
pub struct Ecr {
    client: Client,
    host: String,
    host_for_machines: String,
}

impl Ecr {
    /// Returns the ECR Public of the account in the SDK's configuration, whatever its region. Sends no request yet.
    pub fn open(configuration: &SdkConfig, fake_aws: &FakeAws) -> Ecr {
        let own = Builder::from(configuration).region(Region::from_static(REGION)).build();
        Ecr { client: Client::from_conf(own), host: host(fake_aws), host_for_machines: host_for_machines(fake_aws) }
    }

    /// Finds the repository of a run by its name and its tag.
    pub async fn find(&self, run: &str) -> anyhow::Result<Option<Repository>> {
        let described = self.describe(&aws_name(run)).await?;
        let Some(repository) = described.as_ref().and_then(known) else { return Ok(None) };
        Ok(self.with_tags(repository).await?.filter(|repository| repository.run == run))
    }

    /// Lists all repositories that runs made, this one and others, by their tags. Others do not belong to assay.
    pub async fn list(&self) -> Result<Vec<Repository>, AwsError> {
        let pages = self.client.describe_repositories().into_paginator().items().send();
        let mut all = Vec::new();
        for described in explained("ecr-public:DescribeRepositories", pages.try_collect()).await? {
            if let Some(repository) = known(&described) {
                all.extend(self.with_tags(repository).await?);
            }
        }
        Ok(all)
    }

    async fn describe(&self, name: &str) -> Result<Option<Described>, AwsError> {
        let call = self.client.describe_repositories().repository_names(name).send();
        match explained("ecr-public:DescribeRepositories", call).await {
            Ok(answer) => Ok(answer.repositories.unwrap_or_default().into_iter().next()),
            Err(error) if error.is(NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds what a repository's tags contain; `None` if no run made it, or if it is gone by now.
    async fn with_tags(&self, repository: Repository) -> Result<Option<Repository>, AwsError> {
        let call = self.client.list_tags_for_resource().resource_arn(&repository.arn).send();
        let tags = match explained("ecr-public:ListTagsForResource", call).await {
            Ok(answer) => answer.tags.unwrap_or_default(),
            Err(error) if error.is(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let value = |key: &str| tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value);
        let expires = value(EXPIRES_TAG).and_then(|text| Timestamp::from_second(text.parse().ok()?).ok());
        Ok(value(RUN_TAG).map(|run| Repository { run: run.to_owned(), expires, ..repository }))
    }
}

impl PublicRegistry for Ecr {
    fn host(&self) -> &str {
        &self.host
    }

    fn host_for_machines(&self) -> &str {
        &self.host_for_machines
    }

    fn create<'a>(&'a self, run: &'a str, expires: Timestamp) -> AwsFuture<'a, Repository, NotMade> {
        Box::pin(async move {
            let name = aws_name(run);
            let mut request = self.client.create_repository().repository_name(&name);
            for (key, value) in [(RUN_TAG, run), (EXPIRES_TAG, &expires.as_second().to_string()), ("Name", &name)] {
                let tag = Tag::builder().key(key).value(value).build();
                request = request.tags(tag);
            }
            let created = explained("ecr-public:CreateRepository", request.send()).await;
            let created = created.map_err(|error| match error.is("RepositoryAlreadyExistsException") {
                true => NotMade::Taken(error.to_string()),
                false => NotMade::Other(error.to_string()),
            })?;
            let described = created.repository.as_ref().and_then(known);
            let none = || NotMade::Other(format!("ECR Public made {name} and does not say where it is"));
            Ok(Repository { run: run.to_owned(), expires: Some(expires), ..described.ok_or_else(none)? })
        })
    }

    fn have<'a>(&'a self, run: &'a str, expires: Timestamp) -> AwsFuture<'a, Repository, NotMade> {
        Box::pin(async move {
            let taken = match self.create(run, expires).await {
                Err(NotMade::Taken(text)) => text,
                made => return made,
            };
            let found = self.find(run).await.map_err(|error| NotMade::Other(format!("{error:#}")))?;
            found.ok_or(NotMade::Taken(taken))
        })
    }

    fn state<'a>(&'a self, name: &'a str) -> AwsFuture<'a, String> {
        Box::pin(async move {
            let Some(described) = self.describe(name).await? else { return Ok(NOT_FOUND.to_owned()) };
            let uri = described.repository_uri();
            Ok(uri.with_context(|| format!("ECR Public does not say where {name} is"))?.to_owned())
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> AwsFuture<'a, bool> {
        Box::pin(async move {
            let call = self.client.delete_repository().repository_name(name).force(true).send();
            match explained("ecr-public:DeleteRepository", call).await {
                Ok(_) => Ok(true),
                Err(error) if error.is(NOT_FOUND) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn login_password(&self) -> AwsFuture<'_, String> {
        Box::pin(async move {
            let call = self.client.get_authorization_token().send();
            let answer = explained("ecr-public:GetAuthorizationToken", call).await?;
            let data = answer.authorization_data();
            let token = data.and_then(|data| data.authorization_token()).context("ECR Public gives no login")?;
            password(token)
        })
    }

    fn put_text<'a>(&'a self, name: &'a str, tag: &'a str, text: &'a str) -> AwsFuture<'a, (), Denial> {
        Box::pin(async move {
            let call = self.client.put_image().repository_name(name).image_tag(tag).image_manifest(text).send();
            let put = explained("ecr-public:PutImage", call).await;
            put.map(drop).map_err(|error| match error.is("InvalidParameterException") {
                true => Denial::Unauthorized(error.to_string()),
                false => Denial::Other(error.to_string()),
            })
        })
    }
}

/// Returns the host, with a port if needed, at which this host reaches the registry behind the public address.
fn host(fake_aws: &FakeAws) -> String {
    fake_aws.registry.clone().unwrap_or_else(|| PUBLIC.to_owned())
}

/// Returns the same for a machine: a VM that stands in for an instance reaches this host's loopback at another address.
fn host_for_machines(fake_aws: &FakeAws) -> String {
    let host = host(fake_aws);
    match host.split_once(':') {
        Some(("127.0.0.1" | "localhost", port)) => format!("10.0.2.2:{port}"),
        _ => host,
    }
}

/// Reads the API's description of a repository, without what only its tags contain.
fn known(described: &Described) -> Option<Repository> {
    let time = |at: &DateTime| Timestamp::from_millisecond(at.to_millis().ok()?).ok();
    Some(Repository {
        name: described.repository_name()?.to_owned(),
        uri: described.repository_uri()?.to_owned(),
        arn: described.repository_arn()?.to_owned(),
        run: String::new(),
        expires: None,
        created: described.created_at().and_then(time),
    })
}

/// Reads the password from a token, which is `AWS:<password>` in base64. Errors never contain any part of the token.
fn password(token: &str) -> anyhow::Result<String> {
    let bytes = STANDARD.decode(token).map_err(|_| anyhow!("ECR Public's login is not in base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("ECR Public's login is not text"))?;
    let password = text.strip_prefix("AWS:").filter(|password| !password.is_empty());
    Ok(password.context("ECR Public's login is not for the user AWS")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_user_and_a_password() {
        assert_eq!(password("QVdTOmEtc2VjcmV0").unwrap(), "a-secret");
        for (token, wrong) in [
            ("b3RoZXI6YS1zZWNyZXQ=", "ECR Public's login is not for the user AWS"),
            ("QVdTOg==", "ECR Public's login is not for the user AWS"),
            ("no base64", "ECR Public's login is not in base64"),
        ] {
            assert_eq!(format!("{:#}", password(token).unwrap_err()), wrong);
        }
    }

    #[test]
    fn only_what_stands_in_for_the_registry_is_looked_for_elsewhere() {
        let hosts = |registry: Option<&str>| {
            let fake_aws = FakeAws { registry: registry.map(str::to_owned), ..FakeAws::default() };
            (host(&fake_aws), host_for_machines(&fake_aws))
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(hosts(None), both(PUBLIC, PUBLIC));
        assert_eq!(hosts(Some("127.0.0.1:5000")), both("127.0.0.1:5000", "10.0.2.2:5000"));
        assert_eq!(hosts(Some("192.0.2.1:5000")), both("192.0.2.1:5000", "192.0.2.1:5000"));
    }
}
