//! The end of a run in EC2: everything it made goes, in the order that EC2 allows, and is seen to be gone.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::Client;

use super::error::{AwsError, Class};
use super::things::{AwsResource, Kind, Which, list_kind, look, remove};
use crate::base::poll::{Look, TooLate, until};
use crate::base::progress::Progress;
use crate::exec::cleanup::GC;

/// How often what is refused is tried: a refusal may be a passing one.
const TRIES: usize = 3;

/// How many looks in a row must find nothing: what was just made may not be listed yet.
const CLEAN: usize = 2;

/// How long is waited, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Between two looks.
    pub look: Duration,
    /// For the end of the instances.
    pub instances: Duration,
    /// For the end of the rest, once the instances are gone.
    pub rest: Duration,
}

impl Default for Pauses {
    /// Those for AWS, where an instance takes a minute to end and its group is in use for some seconds more.
    fn default() -> Pauses {
        Pauses {
            look: Duration::from_secs(4),
            instances: Duration::from_secs(5 * 60),
            rest: Duration::from_secs(2 * 60),
        }
    }
}

impl Pauses {
    /// Those for AWS, or for what stands in for it: that does at once what it is told.
    pub fn of(endpoint: Option<&str>) -> Pauses {
        let short = Duration::from_millis(300);
        match endpoint {
            Some(_) => Pauses { look: short, instances: Duration::from_secs(60), rest: Duration::from_secs(60) },
            None => Pauses::default(),
        }
    }
}

/// What is to go.
pub(super) struct Scope<'a> {
    /// What is listed.
    pub which: Which<'a>,
    /// Instances that go whatever tags they have.
    pub known: &'a [String],
    /// Which of what is listed goes.
    pub goes: &'a (dyn Fn(&AwsResource) -> bool + Sync),
}

/// Something that would not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it is.
    pub thing: AwsResource,
    /// What AWS said when it was last asked to remove it.
    pub why: Option<String>,
}

/// Something is left, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGone {
    /// Where it was looked for.
    pub region: String,
    /// What is still listed.
    pub left: Vec<Left>,
    /// What could not be listed, so that nobody knows, and why.
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
            "in {}: {said}; remove it with `{GC} --all --region {}` (without --all: only what is ",
            self.region, self.region
        )?;
        write!(out, "expired, or of a run of this machine that is over)")
    }
}

/// Removes everything that carries a run's tag, and the instances that are known by their ids, and waits until it is
/// gone. Nothing there is fine; it may be called again.
///
/// # Errors
/// [`NotGone`] names what is left, why, and the command that removes it.
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

/// Removes what is in a scope, and gives all that was there, beside what came of it.
pub(super) async fn clear(
    client: &Client,
    scope: &Scope<'_>,
    pauses: &Pauses,
    progress: &Progress,
) -> (Vec<AwsResource>, Result<(), NotGone>) {
    let mut removal =
        Removal { client, scope, progress, refused: BTreeMap::new(), seen: BTreeMap::new(), said: String::new() };
    let machines = [Kind::SpotRequest, Kind::Instance];
    // Whatever comes of it: the rest is tried, so that as little as possible is left.
    let _ = removal.until_gone(&machines, 1, pauses.instances, pauses.look).await;
    let gone = removal.until_gone(&Kind::ALL, CLEAN, pauses.rest, pauses.look).await;
    (removal.seen.into_values().collect(), gone)
}

struct Removal<'a> {
    client: &'a Client,
    scope: &'a Scope<'a>,
    progress: &'a Progress,
    /// What AWS last said of a thing's removal, and how often it refused it for good.
    refused: BTreeMap<String, (usize, String)>,
    /// Everything that was there, by its id.
    seen: BTreeMap<String, AwsResource>,
    /// What was last waited for.
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
    /// Removes things of some kinds until `clean` looks in a row find none.
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
            // What nobody may list or remove does not change by waiting.
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
            // What was just begun is not waited for yet.
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

    /// What there is of some kinds that should go, and what could not be listed.
    async fn look(&self, kinds: &[Kind]) -> (Vec<AwsResource>, Vec<AwsError>) {
        let (mut things, mut unseen) = look(self.client, kinds, self.scope.which).await;
        things.retain(|thing| (self.scope.goes)(thing));
        if !self.scope.known.is_empty() && unseen.iter().all(AwsError::of_one_call) {
            self.look_for_known(&mut things, &mut unseen).await;
            // What an instance uses is removed after it.
            things.sort_by_key(|thing| thing.kind);
        }
        (things, unseen)
    }

    /// Adds the known instances that are there. One that is not listed may be too new for it: it is ended all the same.
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

    /// Removes things, and says whether one of them is new.
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

/// What is waited for.
fn waiting(things: &[AwsResource], unseen: &[AwsError]) -> String {
    let things: Vec<String> = things.iter().map(ToString::to_string).collect();
    let ends = (!things.is_empty()).then(|| format!("waiting for the end of {}", things.join(", ")));
    let again = unseen.iter().map(|trouble| format!("trying again: {trouble}"));
    ends.into_iter().chain(again).collect::<Vec<_>>().join("; ")
}

/// Whether it is no use to wait: the thing is not in use, and AWS has answered.
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
