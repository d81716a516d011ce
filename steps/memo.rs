//! Things that many ask for and that are made once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Makes a thing once per key and gives it to everybody who asks; a failure is remembered like a success.
pub struct Memo<T>(Mutex<HashMap<String, Cell<T>>>);
type Cell<T> = Arc<OnceCell<Result<T, Arc<str>>>>;

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo(Mutex::default())
    }
}

impl<T: Clone> Memo<T> {
    /// The thing of this key: made now by the first who asks, waited for by those who ask meanwhile.
    ///
    /// # Errors
    /// It could not be made, now or when it was first asked for.
    pub async fn get(&self, key: &str, make: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let cell = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default().clone();
        let made =
            cell.get_or_init(|| async { Box::pin(make).await.map_err(|error| Arc::from(format!("{error:#}"))) }).await;
        made.clone().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Forgets everything: what is asked for next is made anew.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets what could not be made.
    pub fn forget_failures(&self) {
        let failed = |cell: &Cell<T>| cell.get().is_some_and(Result::is_err);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, cell| !failed(cell));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_several_ask_for_at_once_is_made_once() {
        let (memo, made) = (Memo::default(), AtomicU32::new(0));
        let trial = |key: &'static str| {
            memo.get(key, async {
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
    async fn a_failure_is_not_tried_again() {
        let memo = Memo::<u32>::default();
        for _ in 0..2 {
            let error = memo.get("hog", async { anyhow::bail!("no room") }).await.unwrap_err();
            assert_eq!(error.to_string(), "no room");
        }
        assert_eq!(memo.get("hog", async { Ok(1) }).await.unwrap_err().to_string(), "no room");
    }

    #[tokio::test]
    async fn what_is_forgotten_is_made_anew() {
        let memo = Memo::<u32>::default();
        memo.get("hog", async { anyhow::bail!("no room") }).await.unwrap_err();
        memo.forget_failures();
        assert_eq!(memo.get("hog", async { Ok(1) }).await.unwrap(), 1);
        memo.forget_failures();
        assert_eq!(memo.get("hog", async { Ok(2) }).await.unwrap(), 1, "what was made is kept");
        memo.forget();
        assert_eq!(memo.get("hog", async { Ok(3) }).await.unwrap(), 3);
    }
}
