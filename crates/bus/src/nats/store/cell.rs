//! One value as it is stored: what is known about it in a header, its bytes alone.

use bytes::Bytes;
use incident::ports::{StoreError, Versioned};
use serde::{Deserialize, Serialize};

use super::super::link::Found;
use super::super::time::{Micros, Now};
use super::Write;

/// What is known about a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Meta {
    /// Zero if there is no value (any more).
    #[serde(rename = "v")]
    pub(in super::super) version: u64,
    /// When it ends.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) end: Option<Micros>,
    /// The transaction that decides whether this value or the one before it counts.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) lock: Option<String>,
    /// For a locked value: the revision of the one before it.
    #[serde(rename = "o", default, skip_serializing_if = "is_zero")]
    pub(in super::super) old: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it like this"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Meta {
    /// What all headers of a value take at most.
    pub(super) const BYTES_MAX: usize = 1024;

    pub(in super::super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// What stands at a subject.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    /// Zero if nothing ever did.
    pub(super) rev: u64,
    pub(super) meta: Meta,
    pub(super) body: Bytes,
}

impl Cell {
    pub(super) fn of(key: &str, found: Option<Found>) -> Result<Self, StoreError> {
        let Some(found) = found else {
            return Ok(Self::default());
        };
        if found.is_removal {
            return Ok(Self::gone(found.seq));
        }
        let corrupt = |why: String| StoreError::Corrupt {
            key: key.to_owned(),
            why,
        };
        let meta = found
            .meta
            .ok_or_else(|| corrupt(String::from("somebody else wrote it")))?;
        let meta = Meta::read(&meta).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self {
            rev: found.seq,
            meta,
            body: found.body,
        })
    }

    /// No value, to be written over `rev`.
    pub(super) fn gone(rev: u64) -> Self {
        Self {
            rev,
            ..Self::default()
        }
    }

    /// The same without a lock, to be written over `rev`.
    pub(super) fn unlocked(&self, rev: u64) -> Self {
        Self {
            rev,
            meta: Meta {
                lock: None,
                old: 0,
                ..self.meta.clone()
            },
            body: self.body.clone(),
        }
    }

    /// The value, if there is one now.
    pub(super) fn live(&self, now: Now) -> Option<Versioned> {
        let is_over = self.meta.end.is_some_and(|end| now.is_past(end));
        (self.meta.version > 0 && !is_over).then(|| Versioned {
            value: self.body.to_vec(),
            version: self.meta.version,
        })
    }

    /// The message that writes this over its revision.
    pub(super) fn write(&self, subject: &str) -> Write {
        Write {
            subject: subject.to_owned(),
            expect: Some(self.rev),
            meta: serde_json::to_string(&self.meta).ok(),
            body: self.body.clone(),
            ..Write::default()
        }
    }
}
