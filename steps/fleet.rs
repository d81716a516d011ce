//! One job on many machines side by side: each has its own time, and none waits for what another one does.

use std::time::Duration;

use anyhow::anyhow;
use tokio::task::JoinSet;

/// How many machines at once, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Machines side by side; a machine that hangs keeps its place until its time is over. What the jobs hold in memory
    /// and descriptors is bounded by this too.
    pub at_once: usize,
    /// The time for the whole of a machine's job.
    pub each: Duration,
}

/// Does a job on each machine; what became of it, in the order of the machines. An error is that machine's alone.
///
/// Dropped before its end, it gives up the jobs that are under way.
pub async fn run<M, T, F>(machines: Vec<M>, limits: Limits, job: impl Fn(M) -> F) -> Vec<anyhow::Result<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let (mut under_way, mut ended) = (JoinSet::new(), Vec::with_capacity(machines.len()));
    for (place, machine) in machines.into_iter().enumerate() {
        while under_way.len() >= limits.at_once.max(1) {
            ended.extend(next(&mut under_way).await);
        }
        let job = job(machine);
        under_way.spawn(async move {
            let late = |_| Err(anyhow!("it did not end within {:?}", limits.each));
            (place, tokio::time::timeout(limits.each, job).await.unwrap_or_else(late))
        });
    }
    while let Some(one) = next(&mut under_way).await {
        ended.push(one);
    }
    ended.sort_by_key(|(place, _)| *place);
    ended.into_iter().map(|(_, outcome)| outcome).collect()
}

type Ended<T> = (usize, anyhow::Result<T>);

async fn next<T: 'static>(under_way: &mut JoinSet<Ended<T>>) -> Option<Ended<T>> {
    let ended = under_way.join_next().await?;
    // No job panics, and nobody aborts one; if it did, a panic is what it is.
    Some(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::command::Command;
    use crate::shell::{Fake, Shell};

    fn limits(at_once: usize, each: Duration) -> Limits {
        Limits { at_once, each }
    }

    async fn ask(shell: Shell) -> anyhow::Result<String> {
        shell.read(&Command::new("hostname")).await
    }

    #[tokio::test]
    async fn each_machine_answers_for_itself_in_the_order_of_the_machines() {
        let named = |number: usize| Shell::fake(Fake::default().answer("hostname", 0, &number.to_string()));
        let mut machines: Vec<Shell> = (0..20).map(named).collect();
        machines[7] = Shell::fake(Fake::default());
        let ended = run(machines, limits(3, Duration::from_secs(60)), ask).await;
        assert_eq!(ended.len(), 20);
        for (place, outcome) in ended.into_iter().enumerate() {
            match place {
                7 => assert!(outcome.unwrap_err().to_string().contains("nobody answers hostname")),
                _ => assert_eq!(outcome.unwrap(), place.to_string()),
            }
        }
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_may_be() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let job = |_: usize| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        };
        run((0..50).collect(), limits(4, Duration::from_secs(60)), job).await;
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn one_that_hangs_ends_with_its_time_and_delays_nobody() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
        // The first one waits for ever, the last one is under way before its time is over.
        let job = |place: usize| {
            let tell = tell.clone();
            async move {
                match place {
                    0 => std::future::pending().await,
                    9 => drop(tell.lock().unwrap().take().map(|tell| tell.send(()))),
                    _ => {}
                }
                Ok(place)
            }
        };
        let fleet = run((0..10).collect(), limits(2, Duration::from_millis(200)), job);
        let (mut ended, heard) = tokio::join!(fleet, told);
        assert!(heard.is_ok(), "the last one was reached");
        assert_eq!(ended.remove(0).unwrap_err().to_string(), "it did not end within 200ms");
        assert_eq!(ended.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (1..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_fleet_that_is_given_up_gives_up_its_jobs() {
        let held = Arc::new(());
        let job = |_: usize| {
            let held = held.clone();
            async move {
                let _held = held;
                std::future::pending::<anyhow::Result<()>>().await
            }
        };
        let fleet = run((0..3).collect(), limits(3, Duration::from_secs(600)), job);
        assert!(tokio::time::timeout(Duration::from_millis(20), fleet).await.is_err());
        // A job that is aborted is dropped when its turn comes.
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
