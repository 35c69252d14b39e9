//! The ports: what the outside world must be like. Each trait states its contract; one conformance
//! suite per port checks every implementation.

mod agent;
mod clock;
mod cx;
mod forge;
mod notifier;
mod store;
mod stream;

pub use agent::{Agent, AgentCard, AgentError, AgentTask, Outcome, Skill};
pub use clock::{Clock, Entropy};
pub use cx::{Cancel, Cx, NeverCancelled, NoProgress, Progress};
pub use forge::{Forge, ForgeError};
pub use notifier::{Notice, NoticeKind, Notifier, NotifyError, Receipt, Search, Sight};
pub use store::{Expect, Fence, Put, Store, StoreError, Versioned};
pub use stream::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
