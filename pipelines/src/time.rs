//! Small things that every step needs.

use std::time::Duration;

use incident::Untrusted;
use incident::ports::Clock;
use jiff::Timestamp;

/// The time from now to `at`; zero if it has passed.
pub(crate) fn until(clock: &dyn Clock, at: Timestamp) -> Duration {
    let left = at.duration_since(clock.now());
    left.try_into().unwrap_or(Duration::ZERO)
}

/// One printable line of an error, which may quote the outside.
pub(crate) fn line(error: &dyn std::error::Error) -> String {
    Untrusted::new(error.to_string()).one_line(240)
}
