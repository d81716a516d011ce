//! Deletes everything a run created in EC2, in the order EC2 needs, and checks that it is gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_ec2::Client;

use super::resources::{AwsResource, instances_by_id, list, remove, terminate};
use crate::base::commands;
use crate::base::progress::Progress;
use crate::targets::aws_error::{AwsError, Class};

/// How many rounds in a row may find that everything left is forbidden: a new permission takes a moment to apply.
const TRIES: usize = 3;

/// How many listings in a row must find nothing: what was just made may not be listed yet.
const CLEAN: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    pub look: Duration,
    pub limit: Duration,
}

impl Pauses {
    /// Returns the pauses for AWS, where an instance takes a minute to end and its group stays in use for some seconds
    /// more, or shorter ones for a stand-in.
    pub fn of(endpoint: Option<&str>) -> Pauses {
        match endpoint {
            Some(_) => Pauses { look: Duration::from_millis(300), limit: Duration::from_secs(60) },
            None => Pauses { look: Duration::from_secs(4), limit: Duration::from_secs(7 * 60) },
        }
    }
}

/// Removes everything that carries a run's tag, and the instances known by their ids; may be called again.
pub async fn teardown(
    client: &Client,
    run: &str,
    known: &[String],
    pauses: &Pauses,
    progress: &Progress,
) -> anyhow::Result<()> {
    let goes = |resource: &AwsResource| resource.run == run;
    let cleared = Removal::new(client, known, &goes, progress).clear(pauses).await;
    cleared.left.map_or(Ok(()), |left| Err(anyhow::Error::msg(left)))
}

/// What was removed, and in words what is left or could not be seen, and why.
pub(super) struct Cleared {
    pub removed: Vec<String>,
    pub left: Option<String>,
}

/// Removes resources until listings find none. Every removal stands alone: one that fails keeps none of the others.
pub(super) struct Removal<'a> {
    client: &'a Client,
    /// Instances to remove whatever their tags.
    known: &'a [String],
    goes: &'a (dyn Fn(&AwsResource) -> bool + Sync),
    progress: &'a Progress,
    /// The names of everything that was there, by its id.
    seen: BTreeMap<String, String>,
    /// AWS's last refusal to remove each resource.
    refused: BTreeMap<String, AwsError>,
}

impl<'a> Removal<'a> {
    pub fn new(
        client: &'a Client,
        known: &'a [String],
        goes: &'a (dyn Fn(&AwsResource) -> bool + Sync),
        progress: &'a Progress,
    ) -> Removal<'a> {
        Removal { client, known, goes, progress, seen: BTreeMap::new(), refused: BTreeMap::new() }
    }

    pub async fn clear(mut self, pauses: &Pauses) -> Cleared {
        let started = Instant::now();
        let (mut clean, mut forbidden, mut shown) = (0, 0, String::new());
        loop {
            let (there, unseen) = self.look().await;
            if there.is_empty() && unseen.is_empty() {
                clean += 1;
                if clean == CLEAN {
                    return Cleared { removed: self.seen.into_values().collect(), left: None };
                }
            } else {
                clean = 0;
                let begun = self.remove(&there).await;
                // Waiting does not help where listing or removing is forbidden.
                let refused = there.iter().all(|one| self.refused.get(&one.id).is_some_and(is_forbidden));
                forbidden = if refused && unseen.iter().all(is_forbidden) { forbidden + 1 } else { 0 };
                if forbidden == TRIES || started.elapsed() + pauses.look > pauses.limit {
                    return self.give_up(&there, &unseen);
                }
                // What has only just been removed is not reported as waited for yet.
                let waiting = waiting(&there, &unseen);
                if !begun && waiting != shown {
                    self.progress.note(&waiting);
                    shown = waiting;
                }
            }
            tokio::time::sleep(pauses.look).await;
        }
    }

    /// Returns what is to be removed and still there, in the order of removal, and the errors of listings.
    async fn look(&self) -> (Vec<AwsResource>, Vec<AwsError>) {
        let (mut there, mut unseen) = list(self.client).await;
        there.retain(|resource| (self.goes)(resource));
        if self.known.is_empty() || !unseen.iter().all(AwsError::of_one_call) {
            return (there, unseen);
        }
        let known = instances_by_id(self.client, self.known).await.unwrap_or_else(|error| {
            unseen.push(error);
            Vec::new()
        });
        // One that is not listed may be too new for it. What is over is not ended again.
        for id in self.known.iter().filter(|id| !known.iter().any(|one| one.id == **id)) {
            let _ = terminate(self.client, id).await;
        }
        let unlisted = |one: &AwsResource| !one.is_over() && !there.iter().any(|other| other.id == one.id);
        let unlisted: Vec<AwsResource> = known.into_iter().filter(unlisted).collect();
        there.extend(unlisted);
        there.sort_by_key(|resource| resource.kind);
        (there, unseen)
    }

    /// Asks AWS to remove resources, and returns whether one of them is new. What is refused is tried again later.
    async fn remove(&mut self, there: &[AwsResource]) -> bool {
        let before = self.seen.len();
        for resource in there {
            if !self.seen.contains_key(&resource.id) {
                self.progress.note(format!("removing {resource}"));
                let name = AwsResource { state: String::new(), ..resource.clone() }.to_string();
                self.seen.insert(resource.id.clone(), name);
            }
            if resource.is_going() {
                self.refused.remove(&resource.id);
                continue;
            }
            match remove(self.client, resource).await {
                Ok(()) => self.refused.remove(&resource.id),
                Err(error) => self.refused.insert(resource.id.clone(), error),
            };
        }
        self.seen.len() > before
    }

    fn give_up(mut self, there: &[AwsResource], unseen: &[AwsError]) -> Cleared {
        let left = there.iter().map(|resource| match self.refused.get(&resource.id) {
            Some(error) => format!("{resource} is left: {error}"),
            None => format!("{resource} is left"),
        });
        let unlisted = unseen.iter().map(|error| format!("what is left could not be listed: {error}"));
        let left = left.chain(unlisted).collect::<Vec<_>>().join("; ");
        let region = self.client.config().region().map(ToString::to_string).unwrap_or_default();
        let left = format!(
            "in {region}: {left}; remove it with `{} --all --region {region}` (without --all: only what is expired, or \
             of a run of this machine that is over)",
            commands::assay_with_aws("gc"),
        );
        self.seen.retain(|id, _| !there.iter().any(|resource| resource.id == *id));
        Cleared { removed: self.seen.into_values().collect(), left: Some(left) }
    }
}

fn waiting(there: &[AwsResource], unseen: &[AwsError]) -> String {
    let names: Vec<String> = there.iter().map(ToString::to_string).collect();
    let ends = (!names.is_empty()).then(|| format!("waiting for the end of {}", names.join(", ")));
    let again = unseen.iter().map(|error| format!("trying again: {error}"));
    ends.into_iter().chain(again).collect::<Vec<_>>().join("; ")
}

/// Whether only another permission or login helps; everything else may pass.
fn is_forbidden(error: &AwsError) -> bool {
    matches!(error.class, Class::Forbidden { .. } | Class::NoCredentials | Class::Expired | Class::NoRegion)
}
