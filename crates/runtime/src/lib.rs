//! What every process of Nightshift stands on: time, chance, retries, tasks, shutdown, telemetry,
//! HTTP and configuration.
//!
//! Never: anything that knows what an incident is for. This is the only crate that reads a clock,
//! draws a random number, spawns a task or reads the environment; `clippy.toml` keeps it so.
#![forbid(unsafe_code)]

pub mod alertmanager;
pub mod backlog;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod git;
pub mod http;
pub mod retry;
pub mod shutdown;
pub mod slots;
pub mod task;
pub mod telemetry;
pub mod testing;

pub use clock::SystemClock;
pub use entropy::{OsEntropy, SeededEntropy};
pub use retry::Policy;
pub use shutdown::{CancelToken, Shutdown};
pub use task::{Supervisor, TaskKind};
