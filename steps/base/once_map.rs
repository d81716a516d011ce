//! Makes a value once for all tasks that ask for the same key.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::base::lock::lock;
use crate::base::work_log::{WorkLog, needing};

/// Makes one value per key and returns it to every caller; errors are kept like values. The work log records each value
/// as a piece of work, named by the map's kind and the key.
pub struct OnceMap<T> {
    made: Mutex<HashMap<String, Cell<T>>>,
    kind: &'static str,
    work_log: Arc<WorkLog>,
}
type Cell<T> = Arc<OnceCell<Result<T, Arc<str>>>>;

impl<T> OnceMap<T> {
    pub fn of(kind: &'static str, work_log: &Arc<WorkLog>) -> OnceMap<T> {
        OnceMap { made: Mutex::default(), kind, work_log: work_log.clone() }
    }
}

impl<T: Clone> OnceMap<T> {
    /// Returns the value of this key. The first caller makes it, and callers in the meantime wait for it.
    pub async fn get(&self, key: &str, make: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        // Boxed at once: a future contains everything that it is made of, and would be copied several times here.
        let make = Box::pin(make);
        let cell = lock(&self.made).entry(key.to_owned()).or_default().clone();
        let name = format!("{} {key}", self.kind);
        let make = async { make.await.map_err(|error| Arc::from(format!("{error:#}"))) };
        let made = needing(&name, cell.get_or_init(|| self.work_log.work(&name, make))).await;
        made.clone().map_err(|error| anyhow::anyhow!("{error}"))
    }

    pub fn forget(&self) {
        lock(&self.made).clear();
    }

    pub fn forget_failures(&self) {
        let failed = |cell: &Cell<T>| cell.get().is_some_and(Result::is_err);
        lock(&self.made).retain(|_, cell| !failed(cell));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_several_ask_for_at_once_is_made_once() {
        let (map, made) = (OnceMap::of("guest", &Arc::default()), AtomicU32::new(0));
        let trial = |key: &'static str| {
            map.get(key, async {
                tokio::task::yield_now().await;
                Ok(made.fetch_add(1, Ordering::Relaxed))
            })
        };
        let (a, b, c) = tokio::join!(trial("hog"), trial("hog"), trial("spinner"));
        let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
        assert!(a == b && a != c, "{a} {b} {c}");
        assert_eq!(trial("hog").await.unwrap(), a);
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn values_and_failures_are_kept_until_they_are_forgotten() {
        let map = OnceMap::<u32>::of("guest", &Arc::default());
        for _ in 0..2 {
            let error = map.get("hog", async { anyhow::bail!("no space") }).await.unwrap_err();
            assert_eq!(error.to_string(), "no space");
        }
        assert_eq!(map.get("hog", async { Ok(1) }).await.unwrap_err().to_string(), "no space");
        map.forget_failures();
        assert_eq!(map.get("hog", async { Ok(1) }).await.unwrap(), 1);
        map.forget_failures();
        assert_eq!(map.get("hog", async { Ok(2) }).await.unwrap(), 1);
        map.forget();
        assert_eq!(map.get("hog", async { Ok(3) }).await.unwrap(), 3);
    }
}
