//! The agents: one specialist for each kind of knowledge.
//!
//! For: deciding what an alert is (triage) and observing facts (metrics, repository history) for an
//! investigation. Each is an [`incident::ports::Agent`].
//!
//! Never: a write to the outside, a decision that belongs to the orchestrator.
#![forbid(unsafe_code)]

pub mod git;
pub mod observability;
pub mod triage;

mod specialist;
