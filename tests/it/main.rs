//! The one integration binary.
#![allow(clippy::print_stdout, reason = "what a long test saw is worth reading")]

mod a2a;
mod bus;
mod crash;
mod deploy;
mod drill;
mod e2e;
mod world;
mod world_evidence;
mod world_service;
