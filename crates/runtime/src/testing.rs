//! What tests of every crate need: a clock that follows tokio's paused time, and the Stream and
//! Store ports in memory.
//!
//! Never: anything that a running Nightshift uses. The memory ports forget everything with the
//! process; the `bus` has the ones that last.

mod clock;
pub mod memory;

pub use clock::TestClock;
