//! Records a run's pieces of work and what each waited for, and finds the critical path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::base::work_summary::{Step, Summary, WorkItem};

tokio::task_local! {
    /// The piece of work that the current task is doing.
    static UNDER_WAY: Arc<Mutex<UnderWay>>;
}

/// What is recorded about a piece of work in progress.
#[derive(Debug, Default)]
struct UnderWay {
    needs: BTreeSet<String>,
    /// Its waits for other work and for host capacity.
    waits: Vec<Wait>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    from: Instant,
    to: Instant,
    for_room: bool,
}

/// Records the work of a run as it is done.
#[derive(Debug)]
pub struct WorkLog {
    started: Instant,
    done: Mutex<Vec<WorkItem>>,
}

impl Default for WorkLog {
    fn default() -> WorkLog {
        WorkLog { started: Instant::now(), done: Mutex::default() }
    }
}

impl WorkLog {
    /// Does a piece of work and records it. An enclosing piece of work counts this as a wait.
    pub async fn work<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let noted = async {
            let (began, own) = (Instant::now(), Arc::new(Mutex::new(UnderWay::default())));
            let done = UNDER_WAY.scope(own.clone(), work).await;
            let ended = Instant::now();
            let own = std::mem::take(&mut *own.lock().unwrap_or_else(PoisonError::into_inner));
            let waited = seconds_of(own.waits.iter());
            let queued = seconds_of(own.waits.iter().filter(|wait| wait.for_room));
            let work = WorkItem {
                name: name.to_owned(),
                began: (began - self.started).as_secs_f64(),
                took: ((ended - began).as_secs_f64() - waited).max(0.0),
                queued,
                needs: own.needs,
            };
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push(work);
            done
        };
        needing(name, noted).await
    }

    /// Summarizes the work so far.
    pub fn summary(&self) -> Summary {
        let work = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        summarize(work, self.started.elapsed().as_secs_f64())
    }
}

/// Waits for other work, and records that the current piece of work needs it.
pub async fn needing<T>(name: &str, work: impl Future<Output = T>) -> T {
    wait(Some(name), work).await
}

/// Waits for host capacity, which depends on what else is running, not on the work itself.
pub async fn queueing<T>(wait_for: impl Future<Output = T>) -> T {
    wait(None, wait_for).await
}

async fn wait<T>(needed: Option<&str>, work: impl Future<Output = T>) -> T {
    let Ok(own) = UNDER_WAY.try_with(Arc::clone) else { return work.await };
    let from = Instant::now();
    let done = work.await;
    let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
    own.needs.extend(needed.map(str::to_owned));
    own.waits.push(Wait { from, to: Instant::now(), for_room: needed.is_none() });
    done
}

/// Returns the seconds that the waits cover; overlaps count once.
fn seconds_of<'a>(waits: impl Iterator<Item = &'a Wait>) -> f64 {
    let mut waits: Vec<&Wait> = waits.collect();
    waits.sort_by_key(|wait| wait.from);
    let mut until: Option<Instant> = None;
    let mut seconds = 0.0;
    for wait in waits {
        let from = until.map_or(wait.from, |until| until.max(wait.from));
        if wait.to > from {
            seconds += (wait.to - from).as_secs_f64();
            until = Some(wait.to);
        }
    }
    seconds
}

/// Summarizes the work of a run that took `wall` seconds.
fn summarize(work: Vec<WorkItem>, wall: f64) -> Summary {
    let mut longest: BTreeMap<&str, (f64, Option<&str>)> = BTreeMap::new();
    // Work is recorded when it ends, so after everything it needed.
    for piece in &work {
        let needed = piece.needs.iter().filter_map(|name| Some((name.as_str(), longest.get(name.as_str())?.0)));
        let before = needed.max_by(|one, other| one.1.total_cmp(&other.1));
        let chain = piece.took + before.map_or(0.0, |(_, seconds)| seconds);
        longest.insert(&piece.name, (chain, before.map(|(name, _)| name)));
    }
    let last = longest.iter().max_by(|one, other| one.1.0.total_cmp(&other.1.0));
    let critical = last.map_or(0.0, |(_, (seconds, _))| *seconds);
    let mut path = Vec::new();
    let mut at = last.map(|(name, _)| *name);
    while let Some(name) = at {
        let took = work.iter().rev().find(|piece| piece.name == name).map_or(0.0, |piece| piece.took);
        path.insert(0, Step { name: name.to_owned(), took });
        at = longest.get(name).and_then(|(_, before)| *before);
    }
    Summary { wall, critical, path, work }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn work(name: &str, took: f64, needs: &[&str]) -> WorkItem {
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        WorkItem { name: name.to_owned(), began: 0.0, took, queued: 1.0, needs }
    }

    #[test]
    fn the_longest_chain_is_found_not_the_longest_piece() {
        let all = vec![
            work("image", 3.0, &[]),
            work("machine", 2.0, &[]),
            work("series", 8.0, &["machine"]),
            work("annex run", 9.0, &["image", "machine"]),
        ];
        let summary = summarize(all, 15.0);
        assert_eq!((summary.critical, summary.ratio()), (12.0, Some(1.25)));
        let names: Vec<&str> = summary.path.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["image", "annex run"]);
        let said = summary.to_string();
        assert!(said.starts_with("the run took 15 s, 1.25 times its critical path of 12 s"), "{said}");
        assert!(said.contains("\n  image 3.0 s → annex run 9.0 s\n"), "{said}");
        assert!(said.contains("22 s of work side by side, 4 s of waiting for a place"), "{said}");
    }

    #[test]
    fn a_run_without_work_has_no_chain() {
        let summary = summarize(Vec::new(), 1.0);
        assert_eq!((summary.critical, summary.ratio()), (0.0, None));
        assert_eq!(summary.to_string(), "the run took 1 s");
    }

    #[tokio::test]
    async fn what_work_waits_for_is_not_its_own() {
        let schedule = WorkLog::default();
        let sleep = |millis| async move { std::thread::sleep(Duration::from_millis(millis)) };
        schedule
            .work("trial", async {
                schedule.work("machine", sleep(60)).await;
                queueing(sleep(40)).await;
                sleep(5).await;
            })
            .await;
        let summary = schedule.summary();
        let of = |name: &str| summary.work.iter().find(|work| work.name == name).unwrap().clone();
        let (machine, trial) = (of("machine"), of("trial"));
        assert!(machine.took >= 0.06 && trial.took < machine.took, "{summary:?}");
        assert!(trial.queued >= 0.04 && machine.queued == 0.0, "{summary:?}");
        assert_eq!(trial.needs.iter().collect::<Vec<_>>(), ["machine"]);
        assert!(summary.critical >= 0.065 && summary.critical < summary.wall, "{summary:?}");
    }

    #[test]
    fn waits_that_overlap_are_counted_once() {
        let now = Instant::now();
        let wait = |from: u64, to: u64| Wait {
            from: now + Duration::from_secs(from),
            to: now + Duration::from_secs(to),
            for_room: false,
        };
        assert_eq!(seconds_of([wait(5, 9), wait(0, 4), wait(2, 6), wait(7, 8)].iter()), 9.0);
    }
}
