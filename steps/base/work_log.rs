//! Records a run's pieces of work and what each waited for, and finds the critical path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::base::lock::lock;
use crate::base::work_summary::{CriticalStep, WorkItem, WorkSummary};

tokio::task_local! {
    /// The piece of work that the current task is doing.
    static UNDER_WAY: Arc<Mutex<UnderWay>>;
}

#[derive(Debug)]
struct UnderWay {
    name: String,
    began: Instant,
    needs: BTreeSet<String>,
    /// Its waits for other work and for host capacity.
    waits: Vec<Wait>,
    /// What it waits for now: as long as the wait holds the name.
    waiting: Vec<Weak<str>>,
    doing: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Piece {
    pub name: String,
    pub seconds: f64,
    pub doing: Option<String>,
    pub waits_for: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    from: Instant,
    to: Instant,
    for_capacity: bool,
}

#[derive(Debug)]
pub struct WorkLog {
    started: Instant,
    done: Mutex<Vec<WorkItem>>,
    /// What is under way: as long as the work itself holds it.
    under_way: Mutex<Vec<Weak<Mutex<UnderWay>>>>,
}

impl Default for WorkLog {
    fn default() -> WorkLog {
        WorkLog { started: Instant::now(), done: Mutex::default(), under_way: Mutex::default() }
    }
}

impl WorkLog {
    /// Does a piece of work and records it. An enclosing piece of work counts this as a wait.
    pub async fn work<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let noted = async {
            let began = Instant::now();
            let own = Arc::new(Mutex::new(UnderWay {
                name: name.to_owned(),
                began,
                needs: BTreeSet::new(),
                waits: Vec::new(),
                waiting: Vec::new(),
                doing: None,
            }));
            lock(&self.under_way).push(Arc::downgrade(&own));
            tracing::debug!("begins: {name}");
            let done = UNDER_WAY.scope(own.clone(), work).await;
            tracing::debug!("ended after {:.1} s: {name}", began.elapsed().as_secs_f64());
            let ended = Instant::now();
            let mut own = lock(&own);
            let waited = seconds_of(own.waits.iter());
            let queued = seconds_of(own.waits.iter().filter(|wait| wait.for_capacity));
            let work = WorkItem {
                name: name.to_owned(),
                began: (began - self.started).as_secs_f64(),
                took: ((ended - began).as_secs_f64() - waited).max(0.0),
                queued,
                needs: std::mem::take(&mut own.needs),
            };
            lock(&self.done).push(work);
            done
        };
        needing(name, noted).await
    }

    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Returns the work that is under way, in the order in which it began.
    pub fn under_way(&self) -> Vec<Piece> {
        let mut all = lock(&self.under_way);
        all.retain(|own| own.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).map(|own| lock(&own).seen()).collect()
    }

    /// Estimates the seconds that are left, by the share of an earlier run's work that is done.
    pub fn left(&self, before: &WorkSummary) -> f64 {
        let under_way = self.under_way();
        let done = lock(&self.done);
        let (mut whole, mut behind) = (0.0, 0.0);
        for item in &before.work {
            whole += item.took;
            if done.iter().any(|done| done.name == item.name) {
                behind += item.took;
            } else if let Some(piece) = under_way.iter().find(|piece| piece.name == item.name) {
                behind += if piece.waits_for.is_empty() { piece.seconds.min(item.took) } else { 0.0 };
            }
        }
        if whole > 0.0 { before.wall * (1.0 - behind / whole) } else { 0.0 }
    }

    pub fn summary(&self) -> WorkSummary {
        let work = lock(&self.done).clone();
        summarize(work, self.elapsed())
    }
}

impl UnderWay {
    fn seen(&self) -> Piece {
        Piece {
            name: self.name.clone(),
            seconds: self.began.elapsed().as_secs_f64(),
            doing: self.doing.clone(),
            waits_for: self.waiting.iter().filter_map(Weak::upgrade).map(|what| what.to_string()).collect(),
        }
    }
}

pub fn note(doing: String) {
    // Outside of a piece of work, there is no place to show it.
    let _ = UNDER_WAY.try_with(|own| lock(own).doing = Some(doing));
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
    let (from, what) = (Instant::now(), Arc::<str>::from(needed.unwrap_or("a place")));
    lock(&own).waiting.push(Arc::downgrade(&what));
    let done = work.await;
    drop(what);
    let mut own = lock(&own);
    own.waiting.retain(|waiting| waiting.strong_count() > 0);
    own.needs.extend(needed.map(str::to_owned));
    own.waits.push(Wait { from, to: Instant::now(), for_capacity: needed.is_none() });
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
        seconds += wait.to.saturating_duration_since(from).as_secs_f64();
        until = until.max(Some(wait.to));
    }
    seconds
}

fn summarize(work: Vec<WorkItem>, wall: f64) -> WorkSummary {
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
        path.insert(0, CriticalStep { name: name.to_owned(), took });
        at = longest.get(name).and_then(|(_, before)| *before);
    }
    WorkSummary { wall, critical, path, work }
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
        let summary = summary.to_string();
        assert!(summary.starts_with("the run took 15 s, 1.25 times its critical path of 12 s"), "{summary}");
        assert!(summary.contains("\n  image 3.0 s → annex run 9.0 s\n"), "{summary}");
        assert!(summary.contains("22 s of work side by side, 4 s of waiting for a place"), "{summary}");
        let idle = summarize(Vec::new(), 1.0);
        assert_eq!((idle.critical, idle.ratio(), idle.to_string().as_str()), (0.0, None, "the run took 1 s"));
    }

    #[tokio::test]
    async fn what_work_waits_for_is_not_its_own() {
        let log = WorkLog::default();
        let sleep = |millis| async move { std::thread::sleep(Duration::from_millis(millis)) };
        log.work("trial", async {
            log.work("machine", sleep(60)).await;
            queueing(sleep(40)).await;
            sleep(5).await;
        })
        .await;
        let summary = log.summary();
        let of = |name: &str| summary.work.iter().find(|work| work.name == name).unwrap().clone();
        let (machine, trial) = (of("machine"), of("trial"));
        assert!(machine.took >= 0.06 && trial.took < machine.took, "{summary:?}");
        assert!(trial.queued >= 0.04 && machine.queued == 0.0, "{summary:?}");
        assert_eq!(trial.needs.iter().collect::<Vec<_>>(), ["machine"]);
        assert!(summary.critical >= 0.065 && summary.critical < summary.wall, "{summary:?}");
    }

    #[tokio::test]
    async fn what_is_under_way_is_known_with_what_it_does_and_waits_for() {
        let log = WorkLog::default();
        let seen = || {
            let pieces = log.under_way().into_iter();
            pieces.map(|piece| (piece.name, piece.doing, piece.waits_for)).collect::<Vec<_>>()
        };
        let piece = |name: &str, doing: Option<&str>, waits_for: &[&str]| {
            let waits_for: Vec<String> = waits_for.iter().map(|what| (*what).to_owned()).collect();
            (name.to_owned(), doing.map(str::to_owned), waits_for)
        };
        let trial = log.work("trial", async {
            log.work("machine", async {
                note("kernel".to_owned());
                assert_eq!(seen(), [piece("trial", None, &["machine"]), piece("machine", Some("kernel"), &[])]);
            })
            .await;
            queueing(async { assert_eq!(seen(), [piece("trial", None, &["a place"])]) }).await;
            assert_eq!(seen(), [piece("trial", None, &[])]);
        });
        trial.await;
        let given_up = tokio::time::timeout(Duration::from_millis(1), log.work("push", std::future::pending::<()>()));
        given_up.await.unwrap_err();
        assert_eq!(seen(), []);
    }

    #[tokio::test]
    async fn the_time_left_is_the_share_of_the_last_run_that_is_not_done() {
        let log = WorkLog::default();
        let before = summarize(vec![work("image", 30.0, &[]), work("trial", 60.0, &[]), work("push", 0.0, &[])], 50.0);
        assert_eq!(log.left(&before), 50.0);
        log.work("image", async {}).await;
        assert!((log.left(&before) - 50.0 * 60.0 / 90.0).abs() < 1e-9);
        log.work("trial", async { assert!(log.left(&before) > 33.0, "it has only begun") }).await;
        assert_eq!(log.left(&before), 0.0);
        assert_eq!(log.left(&summarize(Vec::new(), 9.0)), 0.0, "nothing is known of it");
    }

    #[test]
    fn waits_that_overlap_are_counted_once() {
        let now = Instant::now();
        let wait = |from: u64, to: u64| Wait {
            from: now + Duration::from_secs(from),
            to: now + Duration::from_secs(to),
            for_capacity: false,
        };
        assert_eq!(seconds_of([wait(5, 9), wait(0, 4), wait(2, 6), wait(7, 8)].iter()), 9.0);
    }
}
