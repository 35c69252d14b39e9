//! The vocabulary of Nightshift and its ports.
//!
//! For: the nouns every room shares (alert event, incident, evidence, diagnosis, proposal, report)
//! and the traits behind which the outside world stands (stream, store, agent, forge, notifier,
//! clock). The contract of a port is written on its trait.
//!
//! Never: I/O, an async runtime, a clock reading, randomness. Everything here is a value or a trait.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alert;
pub mod approval;
pub mod change;
pub mod diagnosis;
pub mod digest;
pub mod disposition;
pub mod error;
pub mod evidence;
pub mod ids;
pub mod incident;
pub mod keys;
pub mod message;
pub mod order;
pub mod pace;
pub mod ports;
pub mod proposal;
pub mod report;
pub mod severity;
pub mod untrusted;
pub mod window;
pub mod work;

pub use alert::{AlertEvent, AlertStatus};
pub use approval::{Approval, ApprovalKey, ApprovalToken, Decision, Permit};
pub use change::{Change, FileChange};
pub use diagnosis::{Cause, Diagnosis, Hypothesis, Verdict};
pub use disposition::{Disposition, Ruling};
pub use error::{Classify, Code, Kind};
pub use evidence::{Evidence, EvidenceId, Fact, Gap, Observation, Series, SeriesRole};
pub use ids::{EventKey, Fingerprint, GroupKey, IncidentId, MessageId, TaskId};
pub use incident::{Incident, IncidentStatus, Subject};
pub use order::{Order, SignedOrder};
pub use pace::Pace;
pub use ports::{Cx, Forge, Notifier, Store, Stream};
pub use proposal::{DraftPr, Proposal};
pub use report::Report;
pub use severity::Severity;
pub use untrusted::Untrusted;
pub use window::Window;
pub use work::{Step, WorkItem};
