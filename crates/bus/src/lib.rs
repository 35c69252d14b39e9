//! The Stream and Store ports on something that lasts: an embedded log in one file, Redis (one
//! server, behind sentinels, or a cluster), or NATS JetStream.
//!
//! All keep the whole contract of [`incident::ports::Stream`] and [`incident::ports::Store`] and
//! pass one conformance suite. Who holds a [`Bus`] does not know which of them it is.
//!
//! Never: says that something is stored before it is durable; trims what is unprocessed; knows what
//! an entry or a value means; lets a caller see redb, Redis or NATS.
#![forbid(unsafe_code)]

mod bus;
mod config;
mod durability;
mod embedded;
mod error;
mod nats;
mod redis;
mod wait;

pub use bus::Bus;
pub use config::{Cluster, Config, Durability, Kind, Sentinel};
pub use durability::{Finding, Grade};
pub use error::OpenError;
pub use nats::NatsConfig;
