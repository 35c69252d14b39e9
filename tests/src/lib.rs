//! What the tests of the whole are made of: processes, servers, load, histories, waiting.
//!
//! For: tests that need more than one room, or something real outside. Never: anything the product
//! uses.
#![forbid(unsafe_code)]

pub mod alertmanager;
pub mod conformance;
pub mod fakes;
pub mod fleet;
pub mod load;
pub mod nats;
pub mod nightshift;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod relay;
pub mod repository;
pub mod sink;
pub mod slack;
pub mod storm;
pub mod wait;
pub mod world;
