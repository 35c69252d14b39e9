//! Client and server against each other, and the server against raw bodies, over real loopback
//! connections.

mod guarded;
mod lifecycle;
mod remote;
mod takeover;
mod validation;
mod world;
