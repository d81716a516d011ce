//! ECR Public: a repository of the run's own, pushed to with a login and pulled from without one.

use aws_sdk_ecrpublic::Client;
use jiff::Timestamp;

use crate::cloud::{EXPIRES, RUN};
use crate::target::ec2::error::{Class, explain};

/// A repository that carries our tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name, without the registry's.
    pub name: String,
    /// AWS's name for it.
    pub arn: String,
    /// The run that made it.
    pub run: Option<String>,
    /// When anybody may remove it.
    pub expires: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Lists the repositories that carry our tag; untagged ones are left out.
///
/// # Errors
/// Where AWS does not answer or refuses; the action that is missing is named.
pub async fn list(client: &Client) -> anyhow::Result<Vec<Repository>> {
    let mut pages = client.describe_repositories().into_paginator().items().send();
    let mut repositories = Vec::new();
    while let Some(found) = pages.next().await {
        let found = found.map_err(|error| explain("ecr-public:DescribeRepositories", &error))?;
        let (Some(name), Some(arn)) = (found.repository_name(), found.repository_arn()) else { continue };
        let answer = client.list_tags_for_resource().resource_arn(arn).send().await;
        let tags = match answer.map_err(|error| explain("ecr-public:ListTagsForResource", &error)) {
            Ok(answer) => answer.tags.unwrap_or_default(),
            // Somebody removed it meanwhile.
            Err(trouble) if trouble.class == Class::NotFound => continue,
            Err(trouble) => return Err(trouble.into()),
        };
        let tag = |name: &str| tags.iter().find(|tag| tag.key() == Some(name)).and_then(|tag| tag.value());
        let Some(run) = tag(RUN) else { continue };
        repositories.push(Repository {
            name: name.to_owned(),
            arn: arn.to_owned(),
            run: Some(run.to_owned()),
            expires: tag(EXPIRES)
                .and_then(|text| text.parse().ok())
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            created: found.created_at().and_then(|time| Timestamp::from_second(time.secs()).ok()),
        });
    }
    Ok(repositories)
}

/// Removes a repository with all that is in it; already gone is fine.
///
/// # Errors
/// Where AWS does not answer or refuses; the action that is missing is named.
pub async fn remove(client: &Client, name: &str) -> anyhow::Result<()> {
    let gone = client.delete_repository().repository_name(name).force(true).send().await;
    match gone.map_err(|error| explain("ecr-public:DeleteRepository", &error)) {
        Err(trouble) if trouble.class != Class::NotFound => Err(trouble.into()),
        _ => Ok(()),
    }
}
