//! What was sent and what was promised: the truth that the audit holds the product to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use incident::EventKey;
use serde_json::Value;
use tests::fleet;

/// One event that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) fingerprint: String,
    pub(crate) service: String,
    /// Whether a 200 for it came back.
    pub(crate) acknowledged: bool,
}

#[derive(Debug, Default)]
struct Inner {
    events: BTreeMap<EventKey, Sent>,
    requests: u64,
    retried: u64,
    refused: u64,
}

/// Shared by the sender, the probe and the relay.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Inner>>);

/// How the sending went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// All of them.
    pub(crate) all: u64,
    /// Those that were answered 5xx or not at all.
    pub(crate) retried: u64,
    /// Those that were answered otherwise: Alertmanager gives such a notification up.
    pub(crate) refused: u64,
}

impl Ledger {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body was answered; `status` is none when no answer came.
    pub(crate) fn hear(&self, body: &Value, status: Option<StatusCode>) {
        let acknowledged = status.is_some_and(|status| status.is_success());
        let mut inner = self.inner();
        inner.requests += 1;
        match status {
            Some(status) if status.is_success() => {}
            Some(status) if !status.is_server_error() => inner.refused += 1,
            _ => inner.retried += 1,
        }
        for event in fleet::events(body) {
            let sent = inner.events.entry(event.key).or_insert(Sent {
                fingerprint: event.fingerprint,
                service: event.service,
                acknowledged: false,
            });
            sent.acknowledged |= acknowledged;
        }
    }

    /// Everything so far.
    pub(crate) fn events(&self) -> BTreeMap<EventKey, Sent> {
        self.inner().events.clone()
    }

    pub(crate) fn requests(&self) -> Requests {
        let inner = self.inner();
        Requests {
            all: inner.requests,
            retried: inner.retried,
            refused: inner.refused,
        }
    }
}
