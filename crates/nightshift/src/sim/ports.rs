//! The ports of a simulated node. Each call passes the gate (faults), then the watcher (what must hold
//! at every moment), then the safeguard that a mutation may have taken out, and then memory.

mod agent;
mod channel;
mod forge;
mod store;
mod stream;

pub(super) use agent::{Hosted, Link};
pub(super) use channel::{Channel, GatedChannel};
pub(super) use forge::{GatedForge, Remote};
pub(super) use store::GatedStore;
pub(super) use stream::GatedStream;
