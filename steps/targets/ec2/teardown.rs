//! Deletes everything a run created in EC2, in the order EC2 needs, and checks that it is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::Client;

use super::error::{AwsError, Class};
use super::things::{AwsResource, Kind, Which, list_kind, look, remove};
use crate::base::commands;
use crate::base::poll::{Look, TooLate, until};
use crate::base::progress::Progress;

/// How often to retry a refused removal: a refusal may be temporary.
const TRIES: usize = 3;

/// How many listings in a row must find nothing: what was just made may not be listed yet.
const CLEAN: usize = 2;

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Between two listings.
    pub look: Duration,
    /// For the instances to end.
    pub instances: Duration,
    /// For the rest to be removed, once the instances are gone.
    pub rest: Duration,
}

impl Default for Pauses {
    /// For AWS, where an instance takes a minute to end and its group stays in use for some seconds more.
    fn default() -> Pauses {
        Pauses {
            look: Duration::from_secs(4),
            instances: Duration::from_secs(5 * 60),
            rest: Duration::from_secs(2 * 60),
        }
    }
}

impl Pauses {
    /// Returns the pauses for AWS, or shorter ones for a stand-in, which carries out everything at once.
    pub fn of(endpoint: Option<&str>) -> Pauses {
        let short = Duration::from_millis(300);
        match endpoint {
            Some(_) => Pauses { look: short, instances: Duration::from_secs(60), rest: Duration::from_secs(60) },
            None => Pauses::default(),
        }
    }
}

pub(super) struct Scope<'a> {
    pub which: Which<'a>,
    /// Instances to remove whatever their tags.
    pub known: &'a [String],
    /// Selects what to remove from what is listed.
    pub goes: &'a (dyn Fn(&AwsResource) -> bool + Sync),
}

/// A resource that was not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The resource.
    pub thing: AwsResource,
    /// AWS's answer to the last attempt to remove it.
    pub why: Option<String>,
}

/// Something is left, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGone {
    /// The region.
    pub region: String,
    /// What is still listed.
    pub left: Vec<Left>,
    /// What could not be listed, so that resources may be left there, and why.
    pub unseen: Vec<String>,
}

impl std::error::Error for NotGone {}

impl std::fmt::Display for NotGone {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = self.left.iter().map(|left| match &left.why {
            Some(why) => format!("{} is left: {why}", left.thing),
            None => format!("{} is left", left.thing),
        });
        let said: Vec<String> = left.chain(self.unseen.iter().cloned()).collect();
        let said = said.join("; ");
        write!(
            out,
            "in {}: {said}; remove it with `{} --all --region {}` (without --all: only what is ",
            self.region,
            commands::assay_with_aws("gc"),
            self.region
        )?;
        write!(out, "expired, or of a run of this machine that is over)")
    }
}

/// Removes everything that carries a run's tag, and the instances known by their ids, and waits until it is gone. There
/// may be nothing to remove, and it may be called again.
pub async fn teardown(
    client: &Client,
    run: &str,
    known: &[String],
    pauses: &Pauses,
    progress: &Progress,
) -> Result<(), NotGone> {
    let scope = Scope { which: Which::Run(run), known, goes: &|_| true };
    clear(client, &scope, pauses, progress).await.1
}

/// Removes what is in a scope, and returns all that was there, and whether it is gone.
pub(super) async fn clear(
    client: &Client,
    scope: &Scope<'_>,
    pauses: &Pauses,
    progress: &Progress,
) -> (Vec<AwsResource>, Result<(), NotGone>) {
    let mut removal =
        Removal { client, scope, progress, refused: BTreeMap::new(), seen: BTreeMap::new(), said: String::new() };
    let machines = [Kind::SpotRequest, Kind::Instance];
    // Even if this fails, the rest is tried, so that as little as possible is left.
    let _ = removal.until_gone(&machines, 1, pauses.instances, pauses.look).await;
    let gone = removal.until_gone(&Kind::ALL, CLEAN, pauses.rest, pauses.look).await;
    (removal.seen.into_values().collect(), gone)
}

struct Removal<'a> {
    client: &'a Client,
    scope: &'a Scope<'a>,
    progress: &'a Progress,
    /// AWS's last refusal to remove each resource, and how often it refused for a lasting reason.
    refused: BTreeMap<String, (usize, String)>,
    /// Everything that was there, by its id.
    seen: BTreeMap<String, AwsResource>,
    /// The last progress message about waiting.
    said: String,
}

/// What ends the waiting.
enum Ended {
    Late,
    Refused,
}

impl From<TooLate> for Ended {
    fn from(_: TooLate) -> Ended {
        Ended::Late
    }
}

impl Removal<'_> {
    /// Removes resources of some types until `clean` listings in a row find none.
    async fn until_gone(
        &mut self,
        kinds: &[Kind],
        clean: usize,
        limit: Duration,
        pause: Duration,
    ) -> Result<(), NotGone> {
        let (mut row, mut hopeless, mut last) = (0, 0, (Vec::new(), Vec::new()));
        let ended = until("the end of what the run made", limit, pause, async || {
            last = self.look(kinds).await;
            let (things, unseen) = &last;
            if things.is_empty() && unseen.is_empty() {
                row += 1;
                return if row < clean { Ok(Look::Waiting("nothing, once".to_owned())) } else { Ok(Look::Done(())) };
            }
            row = 0;
            let begun = self.remove(things).await;
            // Waiting does not help where listing or removing is forbidden.
            hopeless = match things.iter().all(|thing| self.resists(thing)) && unseen.iter().all(lasting) {
                true if !unseen.iter().all(AwsError::of_one_call) => TRIES,
                true if unseen.is_empty() => TRIES,
                true => hopeless + 1,
                false => 0,
            };
            if hopeless >= TRIES {
                return Err(Ended::Refused);
            }
            let last = waiting(things, unseen);
            // What has only just been removed is not reported as waited for yet.
            if !begun && last != self.said {
                self.progress.say(&last);
                self.said.clone_from(&last);
            }
            Ok(Look::Waiting(last))
        });
        let Err(Ended::Late | Ended::Refused) = ended.await else { return Ok(()) };
        let (things, unseen) = last;
        let why = |thing: &AwsResource| self.refused.get(&thing.id).map(|(_, why)| why.clone());
        Err(NotGone {
            region: self.client.config().region().map(ToString::to_string).unwrap_or_default(),
            left: things.into_iter().map(|thing| Left { why: why(&thing), thing }).collect(),
            unseen: unseen.iter().map(|trouble| format!("what is left could not be listed: {trouble}")).collect(),
        })
    }

    /// Returns the resources of some types that should be removed, and the errors of listings.
    async fn look(&self, kinds: &[Kind]) -> (Vec<AwsResource>, Vec<AwsError>) {
        let (mut things, mut unseen) = look(self.client, kinds, self.scope.which).await;
        things.retain(|thing| (self.scope.goes)(thing));
        if !self.scope.known.is_empty() && unseen.iter().all(AwsError::of_one_call) {
            self.look_for_known(&mut things, &mut unseen).await;
            // An instance is removed before the resources it uses.
            things.sort_by_key(|thing| thing.kind);
        }
        (things, unseen)
    }

    /// Adds the known instances that exist. One that is not listed may be too new for it, so it is terminated all the
    /// same.
    async fn look_for_known(&self, things: &mut Vec<AwsResource>, unseen: &mut Vec<AwsError>) {
        match list_kind(self.client, Kind::Instance, Which::Instances(self.scope.known)).await {
            Ok(found) => {
                for thing in found {
                    if !things.iter().any(|listed| listed.id == thing.id) {
                        things.push(thing);
                    }
                }
            }
            Err(trouble) => unseen.push(trouble),
        }
        for id in self.scope.known {
            if !things.iter().any(|listed| &listed.id == id) {
                let unlisted = AwsResource::instance(id);
                unseen.extend(remove(self.client, &unlisted).await.err());
            }
        }
    }

    fn resists(&self, thing: &AwsResource) -> bool {
        self.refused.get(&thing.id).is_some_and(|(times, _)| *times >= TRIES)
    }

    /// Removes resources, and returns whether one of them had not been seen before.
    async fn remove(&mut self, things: &[AwsResource]) -> bool {
        let before = self.seen.len();
        for thing in things {
            if !self.seen.contains_key(&thing.id) {
                self.progress.say(format!("removing {thing}"));
                self.seen.insert(thing.id.clone(), AwsResource { state: String::new(), ..thing.clone() });
            }
            if thing.going() {
                continue;
            }
            let Err(trouble) = remove(self.client, thing).await else { continue };
            let (times, why) = self.refused.entry(thing.id.clone()).or_default();
            *times += usize::from(lasting(&trouble));
            *why = trouble.to_string();
        }
        self.seen.len() > before
    }
}

/// Formats what is waited for.
fn waiting(things: &[AwsResource], unseen: &[AwsError]) -> String {
    let things: Vec<String> = things.iter().map(ToString::to_string).collect();
    let ends = (!things.is_empty()).then(|| format!("waiting for the end of {}", things.join(", ")));
    let again = unseen.iter().map(|trouble| format!("trying again: {trouble}"));
    ends.into_iter().chain(again).collect::<Vec<_>>().join("; ")
}

/// Whether waiting does not help: AWS has answered, and the reason is neither throttling nor that the resource is in
/// use.
fn lasting(trouble: &AwsError) -> bool {
    let in_use = [
        "DependencyViolation",
        "VolumeInUse",
        "IncorrectState",
        "IncorrectInstanceState",
        "InvalidNetworkInterface.InUse",
        "InvalidIPAddress.InUse",
        "InvalidGroup.InUse",
    ];
    !matches!(trouble.class, Class::Throttled | Class::NoAnswer) && !in_use.iter().any(|code| trouble.is(code))
}
