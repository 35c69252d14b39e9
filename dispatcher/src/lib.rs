//! The dispatcher: carries alert events to triage and work to the orchestrator.
//!
//! For: two hops with the same discipline. A permit first (and a slot, where all processes share a
//! number of them), then a claim; the lease is extended while
//! an agent works; the entry is acknowledged last, when everything that follows from it is durable.
//! Whatever fails is put back or buried with its cause by the class of its error. A process that is
//! killed loses nothing: its leases end and the next one gets the same entries, and the same message
//! ids lead to the same tasks.
//!
//! Never: a decision about an alert or an incident, a queue in memory (what is claimed runs), a
//! look at what others keep in the store, an acknowledgement of work that was merely accepted.
#![forbid(unsafe_code)]

mod breaker;
mod call;
mod config;
mod error;
mod gauges;
mod jobs;
mod lanes;
mod lease;
mod metrics;
mod pace;
mod service;
#[cfg(test)]
mod tests;
mod triage;
mod verdict;
mod work;

pub use config::{Breaker, Config, Retry, Triage, Work};
pub use error::DispatchError;
pub use service::{Deps, Dispatcher};
