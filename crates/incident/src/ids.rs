//! Identifiers. Each is derived from content, so that the same thing seen twice has one name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes an identifier that was made before, such as one read from the store.
            pub fn from_stored(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id! {
    /// Identity of one alert event: digest of group key, fingerprint, starts-at and status.
    EventKey
}
text_id! {
    /// Alertmanager's label fingerprint: 16 hex digits of FNV-1a 64 over the label pairs.
    Fingerprint
}
text_id! {
    /// Alertmanager's `groupKey`: the route's matcher path and the group labels.
    GroupKey
}
text_id! {
    /// `inc-` and 12 hex digits, derived from the correlation key and the onset of the first alert.
    IncidentId
}
text_id! {
    /// A2A message id; the same content sent again carries the same id.
    MessageId
}
text_id! {
    /// A2A task id, made by the server from the message id.
    TaskId
}

impl IncidentId {
    /// The incident that a correlation key opened by an alert with this starts-at (RFC 3339).
    pub fn derive(correlation: &str, starts_at: &str) -> Self {
        let digest = Digest::of_fields("incident/1", [correlation, starts_at]);
        Self(format!("inc-{}", digest.short(12)))
    }

    /// Reads an identifier that a person typed.
    ///
    /// # Errors
    /// Says what an incident id looks like when `text` is not one.
    pub fn parse(text: &str) -> Result<Self, BadIncidentId> {
        let hex = text.strip_prefix("inc-").unwrap_or_default();
        let good = hex.len() == 12 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadIncidentId(text.to_owned()))
        }
    }
}

/// A text that is not an incident id.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not an incident id; it looks like inc-0123456789ab (see `nightshift incidents list`)"
)]
pub struct BadIncidentId(String);

impl MessageId {
    /// The id of the message that carries `fields` for purpose `domain`.
    pub fn derive<'a>(domain: &'a str, fields: impl IntoIterator<Item = &'a str>) -> Self {
        Self(format!(
            "msg-{}",
            Digest::of_fields(domain, fields).short(32)
        ))
    }
}

impl TaskId {
    /// The task that the message `id` starts at agent `agent`.
    pub fn derive(agent: &str, id: &MessageId) -> Self {
        Self(format!(
            "task-{}",
            Digest::of_fields("task/1", [agent, id.as_str()]).short(32)
        ))
    }
}

impl EventKey {
    /// The key of the alert event with these contents; times as RFC 3339.
    pub fn derive(
        group: &GroupKey,
        fingerprint: &Fingerprint,
        starts_at: &str,
        status: &str,
    ) -> Self {
        let fields = [group.as_str(), fingerprint.as_str(), starts_at, status];
        Self(Digest::of_fields("event/1", fields).short(32).to_owned())
    }
}
