//! Waiting on a state, with a bound.

use std::time::Duration;

use anyhow::bail;
use incident::ports::Clock as _;
use runtime::SystemClock;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` finds something, at most for `within`.
///
/// # Errors
/// It did not come; the message names `what`.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if clock.elapsed() >= within {
            bail!("waited {within:?} in vain for {what}");
        }
        clock.sleep(LOOK_EVERY).await;
    }
}
