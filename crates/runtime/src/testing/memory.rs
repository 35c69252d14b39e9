//! The Stream and Store ports in memory. They keep the whole contract except outliving the process
//! and pass the same conformance suites as the `bus`. A clone is another handle on the same state.

mod store;
mod stream;

pub use store::MemoryStore;
pub use stream::{MemoryStream, MemoryStreamBuilder};
