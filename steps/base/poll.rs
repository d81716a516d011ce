//! Polls a condition until a deadline, and reports the last thing seen.

use std::fmt::Display;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub enum Look<T> {
    Done(T),
    /// The condition is not met yet; this was seen.
    Waiting(String),
}

#[derive(Debug, thiserror::Error)]
#[error("{what} timed out after {}; last seen: {last}", crate::base::unit::Duration(limit.as_secs_f64()))]
pub struct TooLate {
    what: String,
    limit: Duration,
    last: String,
}

/// Looks every `pause` until the condition is met or `limit` has passed; an error from `look` ends the polling at once.
pub async fn until<T, E, F>(what: impl Display, limit: Duration, pause: Duration, mut look: F) -> Result<T, E>
where
    F: AsyncFnMut() -> Result<Look<T>, E>,
    E: From<TooLate>,
{
    let started = Instant::now();
    loop {
        let last = match look().await? {
            Look::Done(value) => return Ok(value),
            Look::Waiting(seen) => seen,
        };
        if started.elapsed() + pause > limit {
            return Err(TooLate { what: what.to_string(), limit, last }.into());
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timeout_names_what_was_last_seen() {
        let mut looks = 0;
        let limit = Duration::from_millis(20);
        let error = until("the boot", limit, Duration::from_millis(5), async || {
            looks += 1;
            Ok::<Look<()>, anyhow::Error>(Look::Waiting(format!("look {looks}")))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().starts_with("the boot timed out after 20 ms; last seen: look "), "{error}");
    }
}
