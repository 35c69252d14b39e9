//! The Stream and Store ports on something that lasts: an embedded log in one file, or Redis
//! (one server, behind sentinels, or a cluster).
//!
//! Both keep the whole contract of [`incident::ports::Stream`] and [`incident::ports::Store`] and
//! pass one conformance suite. Who holds a [`Bus`] does not know which of the two it is.
//!
//! Never: says that something is stored before it is durable; trims what is unprocessed; knows what
//! an entry or a value means; lets a caller see redb or Redis.
#![forbid(unsafe_code)]

mod bus;
mod config;
mod embedded;
mod error;
mod redis;
mod wait;

pub use bus::Bus;
pub use config::{Cluster, Config, Durability, Kind, Sentinel};
pub use error::OpenError;
