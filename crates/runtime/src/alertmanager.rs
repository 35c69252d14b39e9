//! Alertmanager's API v2, reading only: alerts, groups, silences, receivers, status.
//!
//! For: whoever has to know what Alertmanager itself holds, because a notification may be lost, cut
//! short or late. Several peers of one cluster are asked one by one; none of them is the truth alone.
//!
//! Never: a request that changes anything, a redirect, a body without a limit, a type that breaks
//! because a newer Alertmanager says more or an older one less.

mod client;
mod config;
mod error;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{Alertmanager, Matcher, Peer};
pub use config::{Basic, Config};
pub use error::{OpenError, ReadError};
pub use wire::{Alert, AlertState, Group, Silence, SilenceMatcher, Status};
