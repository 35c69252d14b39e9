//! The one integration binary.
#![allow(clippy::print_stdout, reason = "what a long test saw is worth reading")]

mod a2a;
mod bus;
mod chaos;
mod deploy;
mod dlq;
mod drill;
mod e2e;
mod reconcile;
mod scalein;
mod sim;
mod slack;
mod slots;
mod storm;
mod world;
mod world_evidence;
mod world_service;
