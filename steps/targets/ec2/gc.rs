//! Lists and then removes what finished runs have left in AWS, from any machine that has the account.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use aws_sdk_ec2::Client;
use jiff::Timestamp;
use serde::Serialize;

use super::resources::{AwsResource, list};
use super::teardown::{Pauses, Removal};
use super::{Patience, configuration};
use crate::base::progress::Progress;
use crate::base::settings::{FakeAws, Settings};
use crate::exec::cleanup::{Removed, Resource, leftovers, live_runs, mark_stale_gone};
use crate::targets::aws_error::AwsError;
use crate::targets::cloud::PublicRegistry as _;
use crate::targets::ecr::REGION as PUBLIC;
use crate::targets::{cloud::Repository, ecr::Ecr};

/// Whether a resource is removed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Expired,
    /// Removed: its run is in a cleanup journal of this machine and is over.
    RunIsOver,
    All,
    /// Kept: its run is live on this machine.
    RunIsUnderWay,
    /// Kept until it expires: its run may be live on another machine.
    NotExpired,
    NoExpiry,
}

impl Fate {
    pub fn goes(self) -> bool {
        matches!(self, Fate::Expired | Fate::RunIsOver | Fate::All)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Fate::Expired => "goes: it is expired",
            Fate::RunIsOver => "goes: its run is over",
            Fate::All => "goes, as everything",
            Fate::RunIsUnderWay => "stays: its run is under way here",
            Fate::NotExpired => "stays until it expires",
            Fate::NoExpiry => "stays: it never expires",
        })
    }
}

/// One resource that was found, for people and programs to read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftoverRow {
    pub region: String,
    pub kind: String,
    /// AWS's id, or a repository's name.
    pub id: String,
    pub name: Option<String>,
    pub run: String,
    pub created: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    pub state: String,
    /// What it costs, in dollars per hour; `None` if that is not known.
    pub per_hour: Option<f64>,
    pub fate: Fate,
}

struct RemovalRule {
    journals: PathBuf,
    over: BTreeSet<String>,
    all: bool,
}

impl RemovalRule {
    /// Decides about one resource. Reads the cleanup journals each time, because a run may just have started here.
    fn fate(&self, run: &str, expires: Option<Timestamp>) -> Fate {
        // If the journals cannot be read, nothing is removed.
        if live_runs(&self.journals).map_or(true, |live| live.iter().any(|one| one == run)) {
            return Fate::RunIsUnderWay;
        }
        match expires {
            _ if self.over.contains(run) => Fate::RunIsOver,
            Some(expires) if expires <= Timestamp::now() => Fate::Expired,
            _ if self.all => Fate::All,
            Some(_) => Fate::NotExpired,
            None => Fate::NoExpiry,
        }
    }
}

struct CheckedRegion {
    region: String,
    endpoint: Option<String>,
    client: Client,
    ecr: Ecr,
    /// What ECR Public has, which all regions share: listed for the first of them.
    repositories: Vec<Repository>,
    /// What the cleanup journals list for this region.
    journals: Vec<Resource>,
    /// Whether further calls here cannot succeed.
    closed: bool,
}

/// What was found, before anything is removed.
pub struct Leftover {
    pub rows: Vec<LeftoverRow>,
    pub errors: Vec<String>,
    /// Those of the errors that the removal cannot solve.
    unsolved: Vec<String>,
    rule: RemovalRule,
    places: Vec<CheckedRegion>,
    pauses: Pauses,
}

/// Whether the cleanup journals of finished runs list anything in AWS.
pub fn may_be_left(journals: &Path) -> anyhow::Result<bool> {
    Ok(leftovers(journals)?.iter().any(|resource| matches!(resource, Resource::Cloud { .. })))
}

/// Finds what carries a run's tag, and removes nothing. Looks where the cleanup journals list something, in `regions`,
/// and with `own_region` in the SDK's default region if `regions` is empty. With `all`, everything is to be removed,
/// except what belongs to a live run on this machine. `price` returns what a resource costs per hour in a region.
pub async fn find(
    settings: &Settings,
    regions: &[String],
    own_region: bool,
    all: bool,
    price: impl Fn(&str, &AwsResource) -> Option<f64>,
) -> anyhow::Result<Leftover> {
    let fake_aws = settings.fake_aws.endpoint.as_deref();
    let journals = settings.journals();
    let left = leftovers(&journals)?;
    let mut found = Leftover {
        rows: Vec::new(),
        errors: Vec::new(),
        unsolved: Vec::new(),
        rule: RemovalRule { journals, over: BTreeSet::new(), all },
        places: Vec::new(),
        pauses: Pauses::of(fake_aws),
    };
    for resource in left {
        let Resource::Cloud { run, region, endpoint } = &resource else { continue };
        if endpoint.is_none() && fake_aws.is_some() {
            let unseen = format!("{resource} is not looked for, for AWS_ENDPOINT_URL names something else: unset it");
            found.unsolved.push(unseen);
            continue;
        }
        found.rule.over.insert(run.clone());
        let endpoint = endpoint.as_deref().filter(|endpoint| Some(*endpoint) != fake_aws);
        found.place(Some(region), endpoint).await.journals.push(resource.clone());
    }
    for region in regions {
        found.place(Some(region), None).await;
    }
    if own_region && regions.is_empty() {
        found.place(None, None).await;
    }
    found.look(price).await;
    Ok(found)
}

impl Leftover {
    /// Returns a region, or the SDK's default one. An endpoint is that of a stand-in other than the environment's.
    async fn place(&mut self, region: Option<&str>, endpoint: Option<&str>) -> &mut CheckedRegion {
        let config = configuration(Patience::default(), region, endpoint).await;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let here = |place: &CheckedRegion| place.region == region && place.endpoint.as_deref() == endpoint;
        let at = self.places.iter().position(here).unwrap_or_else(|| {
            self.places.push(CheckedRegion {
                region,
                endpoint: endpoint.map(str::to_owned),
                client: Client::new(&config),
                ecr: Ecr::open(&config, &FakeAws::default()),
                repositories: Vec::new(),
                journals: Vec::new(),
                closed: false,
            });
            self.places.len() - 1
        });
        &mut self.places[at]
    }

    async fn look(&mut self, price: impl Fn(&str, &AwsResource) -> Option<f64>) {
        let mut endpoints = BTreeSet::new();
        for place in &mut self.places {
            let (resources, errors) = list(&place.client).await;
            place.closed = !errors.iter().all(AwsError::of_one_call);
            let to = if place.closed { &mut self.unsolved } else { &mut self.errors };
            to.extend(errors.iter().map(ToString::to_string));
            let row = |one: &AwsResource| row(&place.region, one, price(&place.region, one), &self.rule);
            self.rows.extend(resources.iter().map(row));
            if place.closed || !endpoints.insert(place.endpoint.clone()) {
                continue;
            }
            match place.ecr.list().await {
                Ok(found) => place.repositories = found,
                Err(error) => self.unsolved.push(error.to_string()),
            }
            self.rows.extend(place.repositories.iter().map(|repository| public_row(repository, &self.rule)));
        }
        // Every region refuses in the same words.
        self.unsolved.dedup();
        self.errors.extend(self.unsolved.iter().cloned());
    }

    /// Removes what the rule says, and deletes from this machine's cleanup journals what is gone.
    pub async fn remove(&self, progress: &Progress) -> Removed {
        let mut done = Removed::default();
        done.errors.extend(self.unsolved.iter().cloned());
        for place in self.places.iter().filter(|place| !place.closed) {
            for repository in &place.repositories {
                if self.rule.fate(&repository.run, repository.expires).goes() {
                    progress.note(format!("removing repository {}", repository.name));
                    match place.ecr.remove(&repository.name).await {
                        Ok(_) => done.removed.push(format!("repository {}", repository.name)),
                        Err(error) => done.errors.push(format!("repository {} is left: {error:#}", repository.name)),
                    }
                }
            }
            let goes = |resource: &AwsResource| self.rule.fate(&resource.run, resource.expires).goes();
            let cleared = Removal::new(&place.client, &[], &goes, progress).clear(&self.pauses).await;
            done.removed.extend(cleared.removed);
            match cleared.left {
                Some(left) => done.errors.push(left),
                None => self.mark_gone(place, &mut done.errors).await,
            }
        }
        done
    }

    /// Deletes the journal entries for a region where nothing is left, unless the run has a repository.
    async fn mark_gone(&self, place: &CheckedRegion, errors: &mut Vec<String>) {
        if place.journals.is_empty() {
            return;
        }
        let Ok(repositories) = place.ecr.list().await else { return };
        for resource in &place.journals {
            let Resource::Cloud { run, .. } = resource else { continue };
            if repositories.iter().any(|repository| repository.run == *run) {
                continue;
            }
            if let Err(error) = mark_stale_gone(&self.rule.journals, resource) {
                errors.push(format!("{error:#}"));
            }
        }
    }
}

fn row(region: &str, resource: &AwsResource, per_hour: Option<f64>, rule: &RemovalRule) -> LeftoverRow {
    LeftoverRow {
        region: region.to_owned(),
        kind: resource.kind.to_string(),
        id: resource.id.clone(),
        name: resource.name.clone(),
        run: resource.run.clone(),
        created: resource.created,
        expires: resource.expires,
        state: resource.state.clone(),
        per_hour,
        fate: rule.fate(&resource.run, resource.expires),
    }
}

fn public_row(repository: &Repository, rule: &RemovalRule) -> LeftoverRow {
    LeftoverRow {
        region: PUBLIC.to_owned(),
        kind: "repository".to_owned(),
        id: repository.name.clone(),
        name: None,
        created: repository.created,
        expires: repository.expires,
        state: String::new(),
        per_hour: None,
        run: repository.run.clone(),
        fate: rule.fate(&repository.run, repository.expires),
    }
}
