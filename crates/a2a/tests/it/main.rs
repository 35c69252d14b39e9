//! Client and server against each other, and the server against raw bodies, over real loopback
//! connections.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod guarded;
mod lifecycle;
mod remote;
mod takeover;
mod validation;
mod world;
