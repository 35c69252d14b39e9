//! The incident pipeline: investigation, diagnosis, reporting.
//!
//! For: turning one opened incident into a report a tired person can act on and, where a change
//! would help, a proposal.
//!
//! Never: a write outside of the ports, a model's word for a fact, a claim without evidence.
#![forbid(unsafe_code)]

pub mod config;
pub mod diagnosis;
mod journal;
pub mod orchestrator;
mod outbox;
pub mod render;
pub mod reporting;

mod phrase;
#[cfg(test)]
mod sample;
mod time;

pub use config::Config;
pub use orchestrator::{Deps, Orchestrator};
