//! What the buses have promised to whom: leases, keys, fencing tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The holder of a live lease, as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) struct Holder {
    pub(in crate::sim) who: &'static str,
    pub(in crate::sim) token: u64,
    pub(in crate::sim) until: Duration,
}

/// What was promised.
#[derive(Debug, Default)]
pub(in crate::sim) struct Books {
    /// By stream and entry.
    pub(in crate::sim) leases: BTreeMap<(String, String), Holder>,
    /// Keys that a stream said are stored.
    pub(in crate::sim) stored: BTreeSet<(String, String)>,
    /// The newest token of each name.
    pub(in crate::sim) fences: BTreeMap<String, u64>,
}
