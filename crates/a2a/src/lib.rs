//! The Agent port over A2A 1.0 (JSON-RPC binding).
//!
//! For: [`Server`] puts agents of this process on the network, [`RemoteAgent`] is an agent of
//! another process. Both speak plain A2A, so that either side can be somebody else's.
//!
//! How it differs from the official SDK it is built on, whose default handler is not used:
//! - a task is identified by its message id, so that a message sent again joins the task or gets
//!   its stored result, and never starts a second one;
//! - tasks live in the Store port under an owner's lease, so that a crash costs one lease and the
//!   message sent again continues the task;
//! - what the protocol requires is checked, and every refusal names the field and the remedy;
//! - numbers that protobuf turned into floats become integers again.
//!
//! Never: a type of the SDK in the public API; a decision about what an agent may do; a retry of
//! a failure that the agent itself reported.
#![forbid(unsafe_code)]

mod client;
mod config;
mod failure;
mod numbers;
mod server;
mod wire;

pub use client::RemoteAgent;
pub use config::Config;
pub use server::{Parts, Server, SetupError, check_exposure};
