//! The HTTP API: what people, the command line and scalers read, and the one thing they can write,
//! a signed decision.

pub(crate) mod backlog;
pub(crate) mod decision;
pub(crate) mod incidents;
mod read;
pub(crate) mod rulings;
