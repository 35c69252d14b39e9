//! Why a call has no result: the word for it on the wire.
//!
//! None of these ends a task. It stays WORKING without an owner, and the same message sent again
//! runs it again.

use a2a_types as sdk;

use crate::wire;

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The agent said so.
    AgentFailed,
    /// The agent cannot reach what it needs.
    AgentUnreachable,
    /// The agent panicked.
    AgentPanicked,
    /// The deadline of the execution passed.
    Deadline,
    /// The execution was called off, but not the task.
    Cancelled,
    /// The process is leaving.
    Interrupted,
    /// Too much is going on.
    Overloaded,
    /// Another process has taken the task over.
    LeaseLost,
    /// The store did not answer.
    Store,
    /// The caller showed no token, or a wrong one.
    Unauthenticated,
}

const LABELS: [(Failure, &str); 10] = [
    (Failure::AgentFailed, "AGENT_FAILED"),
    (Failure::AgentUnreachable, "AGENT_UNREACHABLE"),
    (Failure::AgentPanicked, "AGENT_PANICKED"),
    (Failure::Deadline, "DEADLINE"),
    (Failure::Cancelled, "CANCELLED"),
    (Failure::Interrupted, "INTERRUPTED"),
    (Failure::Overloaded, "OVERLOADED"),
    (Failure::LeaseLost, "LEASE_LOST"),
    (Failure::Store, "STORE_UNAVAILABLE"),
    (Failure::Unauthenticated, "UNAUTHENTICATED"),
];

impl Failure {
    /// The word on the wire.
    pub(crate) fn label(self) -> &'static str {
        LABELS
            .iter()
            .find(|(failure, _)| *failure == self)
            .map_or("UNKNOWN", |(_, label)| label)
    }

    /// The JSON-RPC error that says so.
    pub(crate) fn error(self, why: impl Into<String>) -> sdk::A2AError {
        let metadata = [(wire::FAILURE.to_owned(), self.label().to_owned())];
        let info = sdk::TypedDetail::error_info(
            "INTERNAL_ERROR",
            sdk::errordetails::PROTOCOL_DOMAIN,
            Some(metadata.into()),
        );
        sdk::A2AError::internal(why).with_details(vec![info])
    }

    /// Reads the word out of an error.
    pub(crate) fn of(error: &sdk::A2AError) -> Option<Self> {
        let details = error.details.as_ref()?;
        let label = details.iter().find_map(|detail| {
            let metadata = detail.value.get("metadata")?;
            metadata.get(wire::FAILURE)?.as_str()
        })?;
        LABELS
            .iter()
            .find(|(_, known)| *known == label)
            .map(|(failure, _)| *failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back() {
        for (failure, label) in LABELS {
            assert_eq!(failure.label(), label);
            assert_eq!(Failure::of(&failure.error("why")), Some(failure));
        }
        assert_eq!(Failure::of(&sdk::A2AError::internal("why")), None);
    }
}
