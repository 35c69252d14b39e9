//! The one integration binary.

mod a2a;
mod bus;
mod crash;
mod e2e;
mod world;
mod world_evidence;
mod world_service;
