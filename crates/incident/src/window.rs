//! A span of time that something was looked at.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A closed interval of wall-clock time, `start <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
}

impl Window {
    /// The interval between two instants, in either order.
    pub fn between(a: Timestamp, b: Timestamp) -> Self {
        Self {
            start: a.min(b),
            end: a.max(b),
        }
    }

    /// Whether `at` lies inside, ends included.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// How long it is.
    pub fn length(&self) -> SignedDuration {
        self.end.duration_since(self.start)
    }
}
