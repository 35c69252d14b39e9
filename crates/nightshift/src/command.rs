//! Commands that look at or talk to an installation, one file each.

pub(crate) mod config;
pub(crate) mod decide;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod incidents;
