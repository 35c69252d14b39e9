//! The HTTP API: what people, the command line and scalers read, and what people can write: signed
//! decisions, and signed orders about dead letters.

pub(crate) mod backlog;
pub(crate) mod decision;
pub(crate) mod dlq;
pub(crate) mod incidents;
mod read;
pub(crate) mod rulings;
