//! What runs that are over have left in the cloud: told first, then removed; from any machine that has the account.

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
use crate::exec::cleanup::{Resource, leftovers, living, strike};
use crate::targets::ecr::REGION as PUBLIC;
use crate::targets::{ecr::Ecr, repository::Repository};

/// An answer that takes longer never comes.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Where is looked, and what goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The folder of this machine's ledgers.
    pub leases: &'a Path,
    /// Regions to look in, beside those that the ledgers name.
    pub regions: &'a [String],
    /// Whether to look in the region of the SDK's own chain where no other is given.
    pub own_region: bool,
    /// Whether everything goes that carries the tag of a run, but not what a run under way on this machine has.
    pub all: bool,
    /// What stands in for AWS now.
    pub endpoint: Option<&'a str>,
}

/// Whether a thing goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It goes: its time is over.
    Expired,
    /// It goes: a ledger of this machine has its run, which is over.
    RunIsOver,
    /// It goes: everything does.
    All,
    /// It stays: its run is under way on this machine.
    RunIsUnderWay,
    /// It stays until it expires: its run may be under way somewhere else.
    NotExpired,
    /// It stays, for nothing says when it may go.
    NoExpiry,
}

impl Fate {
    /// Whether it goes.
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

/// What was found, as people and programs read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Where.
    pub region: String,
    /// What: `instance`, `key-pair`, `repository`.
    pub kind: String,
    /// AWS's id of it, or a repository's name.
    pub id: String,
    /// What a key pair or a group is called.
    pub name: Option<String>,
    /// The run that made it.
    pub run: String,
    /// When it was made, where AWS keeps that.
    pub created: Option<Timestamp>,
    /// When anybody may remove it.
    pub expires: Option<Timestamp>,
    /// AWS's own word for what it does.
    pub state: String,
    /// What it costs, in dollars per hour; nothing where that is not known.
    pub per_hour: Option<f64>,
    /// Whether it goes.
    pub fate: Fate,
}

/// Who decides what goes.
struct Rule {
    leases: PathBuf,
    over: BTreeSet<String>,
    all: bool,
}

impl Rule {
    /// Asks the ledgers each time: a run that has just started here is under way.
    fn fate(&self, run: &str, expires: Option<Timestamp>) -> Fate {
        // Where that cannot be said, nothing goes.
        if living(&self.leases).map_or(true, |living| living.iter().any(|one| one == run)) {
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

/// A region of AWS, or of what stands in for it.
struct Place {
    region: String,
    endpoint: Option<String>,
    client: Client,
    /// What the ledgers say may be here.
    leases: Vec<Resource>,
    /// Whether it is no use to go on here.
    closed: bool,
}

/// The repositories, of AWS or of what stands in for it.
struct Repositories {
    endpoint: Option<String>,
    ecr: Ecr,
    found: Vec<Repository>,
}

/// What was found, before anything is removed.
pub struct Leftover {
    /// Everything that carries the tag of a run.
    pub rows: Vec<Row>,
    /// Where it could not be looked, and why.
    pub troubles: Vec<String>,
    /// Those of the troubles that trying does not end.
    unsolved: Vec<String>,
    rule: Rule,
    places: Vec<Place>,
    repositories: Vec<Repositories>,
}

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone.
    pub removed: Vec<String>,
    /// What resisted, and why.
    pub troubles: Vec<String>,
}

/// Whether the ledgers of runs that are over say that something may be left in the cloud.
///
/// # Errors
/// Where the folder of ledgers cannot be read.
pub fn may_be_left(leases: &Path) -> anyhow::Result<bool> {
    Ok(leftovers(leases)?.iter().any(|lease| matches!(lease, Resource::Cloud { .. })))
}

/// A client of what stands in for AWS somewhere else than the surroundings say: it takes any credentials, and is not told
/// those of an account.
pub fn stand_in(endpoint: &str, region: &str) -> Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new("stand-in", "stand-in", None, None, "stand-in"))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// Looks for what carries the tag of a run; removes nothing. What a thing costs per hour, `price` knows.
///
/// # Errors
/// Where this machine's ledgers cannot be read. Where AWS refuses or does not answer is among the troubles.
pub async fn find(request: &Request<'_>, price: impl Fn(&AwsResource) -> Option<f64>) -> anyhow::Result<Leftover> {
    let shared = configuration(Patience::default()).await;
    let left: Vec<Resource> = leftovers(request.leases)?;
    let mut found = Leftover {
        rows: Vec::new(),
        troubles: Vec::new(),
        unsolved: Vec::new(),
        rule: Rule { leases: request.leases.to_owned(), over: BTreeSet::new(), all: request.all },
        places: Vec::new(),
        repositories: Vec::new(),
    };
    for lease in left {
        let Resource::Cloud { run, region, endpoint } = &lease else { continue };
        if endpoint.is_none() && request.endpoint.is_some() {
            found
                .unsolved
                .push(format!("{lease} is not looked for, for AWS_ENDPOINT_URL names something else: unset it"));
            continue;
        }
        found.rule.over.insert(run.clone());
        let endpoint = endpoint.as_deref().filter(|endpoint| Some(*endpoint) != request.endpoint);
        found.place(&shared, region, endpoint).leases.push(lease.clone());
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

/// The client of a region, by the SDK's own chain.
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
            self.places.push(Place { region, endpoint, client, leases: Vec::new(), closed: false });
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

    /// Removes what goes, and strikes from this machine's ledgers what is seen to be gone.
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

    /// Strikes the leases on a place where nothing is left.
    async fn strike(&self, place: &Place, done: &mut Removed) {
        if place.leases.is_empty() {
            return;
        }
        let same = |repositories: &&Repositories| repositories.endpoint == place.endpoint;
        let Some(repositories) = self.repositories.iter().find(same) else { return };
        let Ok(left) = repositories.ecr.list().await else { return };
        for lease in &place.leases {
            let Resource::Cloud { run, .. } = lease else { continue };
            if left.iter().any(|repository| repository.run == *run) {
                continue;
            }
            if let Err(error) = strike(&self.rule.leases, lease) {
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
