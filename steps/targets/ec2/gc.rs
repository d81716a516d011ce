//! Lists and then removes what finished runs have left in AWS, from any machine that has the account.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Builder, Credentials, Region};
use jiff::Timestamp;
use serde::Serialize;

use super::error::AwsError;
use super::teardown::{Pauses, Scope, clear};
use super::things::{AwsResource, Kind, Which, look};
use super::{Patience, configuration};
use crate::base::progress::Progress;
use crate::base::settings::FakeAws;
use crate::exec::cleanup::{Resource, leftovers, live_runs, mark_stale_gone};
use crate::targets::cloud::PublicRegistry as _;
use crate::targets::ecr::REGION as PUBLIC;
use crate::targets::{ecr::Ecr, repository::Repository};

/// An answer that takes longer is not expected any more.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Where to look, and what to remove.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The folder of this machine's cleanup journals.
    pub journals: &'a Path,
    /// Regions to look in, besides those in the cleanup journals.
    pub regions: &'a [String],
    /// Whether to look in the SDK's default region if no other is given.
    pub own_region: bool,
    /// Whether to remove everything that carries a run's tag, except what belongs to a live run on this machine.
    pub all: bool,
    /// The endpoint of the stand-in for AWS, if one is set now.
    pub endpoint: Option<&'a str>,
}

/// Whether a resource is removed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Removed: it has expired.
    Expired,
    /// Removed: its run is in a cleanup journal of this machine and is over.
    RunIsOver,
    /// Removed: everything is.
    All,
    /// Kept: its run is live on this machine.
    RunIsUnderWay,
    /// Kept until it expires: its run may be live on another machine.
    NotExpired,
    /// Kept: no tag says when it may be removed.
    NoExpiry,
}

impl Fate {
    /// Whether the resource is removed.
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
pub struct Row {
    /// The region.
    pub region: String,
    /// The type: `instance`, `key-pair`, `repository`.
    pub kind: String,
    /// AWS's id, or a repository's name.
    pub id: String,
    /// The name of a key pair or a security group.
    pub name: Option<String>,
    /// The run that made it.
    pub run: String,
    /// When it was made, where AWS records that.
    pub created: Option<Timestamp>,
    /// When anyone may remove it.
    pub expires: Option<Timestamp>,
    /// AWS's name for its state.
    pub state: String,
    /// What it costs, in dollars per hour; `None` if that is not known.
    pub per_hour: Option<f64>,
    /// Whether it is removed.
    pub fate: Fate,
}

/// The rule that decides what is removed.
struct Rule {
    journals: PathBuf,
    over: BTreeSet<String>,
    all: bool,
}

impl Rule {
    /// Decides about one resource. Reads the cleanup journals each time, because a run may just have started here.
    fn fate(&self, run: &str, expires: Option<Timestamp>) -> Fate {
        // If the journals cannot be read, nothing is removed.
        if live_runs(&self.journals).map_or(true, |living| living.iter().any(|one| one == run)) {
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

/// A region of AWS, or of a stand-in.
struct Place {
    region: String,
    endpoint: Option<String>,
    client: Client,
    /// What the cleanup journals list for this region.
    journals: Vec<Resource>,
    /// Whether further calls here cannot succeed.
    closed: bool,
}

struct Repositories {
    endpoint: Option<String>,
    ecr: Ecr,
    found: Vec<Repository>,
}

/// What was found, before anything is removed.
pub struct Leftover {
    /// Everything that carries a run's tag.
    pub rows: Vec<Row>,
    /// What could not be listed, and why.
    pub troubles: Vec<String>,
    /// Those of the errors that the removal cannot solve.
    unsolved: Vec<String>,
    rule: Rule,
    places: Vec<Place>,
    repositories: Vec<Repositories>,
}

/// The result of a removal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub troubles: Vec<String>,
}

/// Whether the cleanup journals of finished runs list anything in AWS.
pub fn may_be_left(journals: &Path) -> anyhow::Result<bool> {
    Ok(leftovers(journals)?.iter().any(|resource| matches!(resource, Resource::Cloud { .. })))
}

/// Returns a client of a stand-in at an endpoint other than the environment's. The stand-in accepts any credentials,
/// and never receives those of an account.
pub fn stand_in(endpoint: &str, region: &str) -> Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new("stand-in", "stand-in", None, None, "stand-in"))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// Finds what carries a run's tag, and removes nothing. `price` returns what a resource costs per hour.
pub async fn find(request: &Request<'_>, price: impl Fn(&AwsResource) -> Option<f64>) -> anyhow::Result<Leftover> {
    let shared = configuration(Patience::default()).await;
    let left: Vec<Resource> = leftovers(request.journals)?;
    let mut found = Leftover {
        rows: Vec::new(),
        troubles: Vec::new(),
        unsolved: Vec::new(),
        rule: Rule { journals: request.journals.to_owned(), over: BTreeSet::new(), all: request.all },
        places: Vec::new(),
        repositories: Vec::new(),
    };
    for resource in left {
        let Resource::Cloud { run, region, endpoint } = &resource else { continue };
        if endpoint.is_none() && request.endpoint.is_some() {
            found
                .unsolved
                .push(format!("{resource} is not looked for, for AWS_ENDPOINT_URL names something else: unset it"));
            continue;
        }
        found.rule.over.insert(run.clone());
        let endpoint = endpoint.as_deref().filter(|endpoint| Some(*endpoint) != request.endpoint);
        found.place(&shared, region, endpoint).journals.push(resource.clone());
    }
    for region in request.regions {
        found.place(&shared, region, None);
    }
    if request.own_region && request.regions.is_empty() {
        let region = shared.region().map(ToString::to_string).unwrap_or_default();
        found.place(&shared, &region, None);
    }
    found.look(&shared, price).await;
    Ok(found)
}

fn client(shared: &SdkConfig, region: &str) -> Client {
    let mut config = Builder::from(shared);
    if !region.is_empty() {
        config = config.region(Region::new(region.to_owned()));
    }
    Client::from_conf(config.build())
}

fn public(shared: &SdkConfig, endpoint: Option<&str>) -> Ecr {
    let mut config = aws_sdk_ecrpublic::config::Builder::from(shared);
    if let Some(endpoint) = endpoint {
        let any = Credentials::new("stand-in", "stand-in", None, None, "stand-in");
        config = config.endpoint_url(endpoint).credentials_provider(any);
    }
    Ecr::of(config, &FakeAws::default())
}

impl Leftover {
    fn place(&mut self, shared: &SdkConfig, region: &str, endpoint: Option<&str>) -> &mut Place {
        let here = |place: &Place| place.region == region && place.endpoint.as_deref() == endpoint;
        let at = self.places.iter().position(here).unwrap_or_else(|| {
            let client = match endpoint {
                Some(endpoint) => stand_in(endpoint, region),
                None => client(shared, region),
            };
            let (region, endpoint) = (region.to_owned(), endpoint.map(str::to_owned));
            self.places.push(Place { region, endpoint, client, journals: Vec::new(), closed: false });
            self.places.len() - 1
        });
        &mut self.places[at]
    }

    async fn look(&mut self, shared: &SdkConfig, price: impl Fn(&AwsResource) -> Option<f64>) {
        let mut endpoints: Vec<Option<String>> = Vec::new();
        for place in &mut self.places {
            let (things, troubles) = look(&place.client, &Kind::ALL, Which::AnyRun).await;
            place.closed = !troubles.iter().all(AwsError::of_one_call);
            let troubles: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            match place.closed {
                true => self.unsolved.extend(troubles),
                false => self.troubles.extend(troubles),
            }
            self.rows.extend(things.iter().map(|thing| row(thing, price(thing), &self.rule)));
            if !place.closed && !endpoints.contains(&place.endpoint) {
                endpoints.push(place.endpoint.clone());
            }
        }
        for endpoint in endpoints {
            let ecr = public(shared, endpoint.as_deref());
            match ecr.list().await {
                Ok(found) => {
                    self.rows.extend(found.iter().map(|repository| public_row(repository, &self.rule)));
                    self.repositories.push(Repositories { endpoint, ecr, found });
                }
                Err(trouble) => self.unsolved.push(format!("{trouble:#}")),
            }
        }
        // Every region refuses in the same words.
        self.unsolved.dedup();
        self.troubles.extend(self.unsolved.iter().cloned());
    }

    /// Removes what the rule says, and deletes from this machine's cleanup journals what is gone.
    pub async fn remove(&self, progress: &Progress, pauses: &Pauses) -> Removed {
        let mut done = Removed { removed: Vec::new(), troubles: self.unsolved.clone() };
        for repositories in &self.repositories {
            for repository in &repositories.found {
                if !self.rule.fate(&repository.run, repository.expires).goes() {
                    continue;
                }
                progress.say(format!("removing repository {}", repository.name));
                match repositories.ecr.remove(&repository.name).await {
                    Ok(_) => done.removed.push(format!("repository {}", repository.name)),
                    Err(trouble) => done.troubles.push(format!("repository {} is left: {trouble:#}", repository.name)),
                }
            }
        }
        for place in self.places.iter().filter(|place| !place.closed) {
            let goes = |thing: &AwsResource| self.rule.fate(&thing.run, thing.expires).goes();
            let scope = Scope { which: Which::AnyRun, known: &[], goes: &goes };
            let (seen, gone) = clear(&place.client, &scope, pauses, progress).await;
            let left: Vec<&str> = match &gone {
                Ok(()) => Vec::new(),
                Err(not_gone) => not_gone.left.iter().map(|left| left.thing.id.as_str()).collect(),
            };
            let names = seen.iter().filter(|thing| !left.contains(&thing.id.as_str())).map(ToString::to_string);
            done.removed.extend(names);
            match gone {
                Err(not_gone) => done.troubles.push(not_gone.to_string()),
                Ok(()) => self.strike(place, &mut done).await,
            }
        }
        done
    }

    /// Deletes the journal entries for a region where nothing is left.
    async fn strike(&self, place: &Place, done: &mut Removed) {
        if place.journals.is_empty() {
            return;
        }
        let same = |repositories: &&Repositories| repositories.endpoint == place.endpoint;
        let Some(repositories) = self.repositories.iter().find(same) else { return };
        let Ok(left) = repositories.ecr.list().await else { return };
        for resource in &place.journals {
            let Resource::Cloud { run, .. } = resource else { continue };
            if left.iter().any(|repository| repository.run == *run) {
                continue;
            }
            if let Err(error) = mark_stale_gone(&self.rule.journals, resource) {
                done.troubles.push(format!("{error:#}"));
            }
        }
    }
}

fn row(thing: &AwsResource, per_hour: Option<f64>, rule: &Rule) -> Row {
    Row {
        region: thing.region.clone(),
        kind: thing.kind.to_string(),
        id: thing.id.clone(),
        name: thing.detail.name.clone(),
        run: thing.run.clone(),
        created: thing.created,
        expires: thing.expires,
        state: thing.state.clone(),
        per_hour: if thing.kind.is_free() { Some(0.0) } else { per_hour },
        fate: rule.fate(&thing.run, thing.expires),
    }
}

fn public_row(repository: &Repository, rule: &Rule) -> Row {
    Row {
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
