//! A body becomes a batch of stream entries, or a reason why it never can.

use std::str;

use axum::http::StatusCode;
use incident::error::{Classify, Code, Kind};
use incident::ports::Entry;
use incident::{GroupKey, Untrusted};
use jiff::Timestamp;

use crate::config::Config;
use crate::event::{AlertError, Group, Sizes, event};
use crate::fingerprint::unquote;
use crate::payload::{Kept, Loose, RawAlert, RawBody, Shaped, parse};
use crate::refusal::Refuse;

/// The only payload version there is.
const VERSION: &str = "4";

/// Why a body can never be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// Not text.
    #[error("the body is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// Not JSON, or not an object.
    #[error("the body is not a JSON object: {0}")]
    NotJson(String),
    /// Another version.
    #[error("version is {found}, expected \"4\"")]
    Version {
        /// What it is.
        found: String,
    },
    /// A field that every body has.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// None of the alerts can be taken.
    #[error("none of the {count} alerts can be taken; the first: {first}")]
    NoneUsable {
        /// How many there are.
        count: usize,
        /// What is wrong with the first.
        first: AlertError,
    },
}

impl Classify for PayloadError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        match self {
            Self::NotUtf8 { .. } | Self::NotJson(_) => Code("E-HOOK-009"),
            Self::Version { .. } | Self::Field { .. } => Code("E-HOOK-010"),
            Self::NoneUsable { first, .. } => first.code(),
        }
    }
}

impl Refuse for PayloadError {
    fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn field(&self) -> String {
        match self {
            Self::NotUtf8 { .. } | Self::NotJson(_) => "body".into(),
            Self::Version { .. } => "version".into(),
            Self::Field { field, .. } => (*field).into(),
            Self::NoneUsable { first, .. } => format!("alerts[0]{}", first.field()),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } | Self::NotJson(_) | Self::Field { .. } => {
                "send Alertmanager's own webhook body; do not set a payload template"
            }
            Self::Version { .. } => "use an Alertmanager that sends webhook version 4",
            Self::NoneUsable { .. } => {
                "send each alert with its labels, status and startsAt, as Alertmanager does"
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson(_) => "not_json",
            Self::Version { .. } => "version",
            Self::Field { .. } => "field",
            Self::NoneUsable { first, .. } => first.reason(),
        }
    }
}

/// What a body holds.
#[derive(Debug)]
pub(crate) struct Batch {
    /// One entry for each alert that can be taken, in order.
    pub(crate) entries: Vec<Entry>,
    /// Alerts that cannot be taken, by their place in the body.
    pub(crate) rejected: Vec<(usize, AlertError)>,
    /// Alerts beyond the limit.
    pub(crate) cut: u64,
    /// Alerts of the group that are not in the batch: cut off here, or by the sender.
    pub(crate) truncated: u64,
}

/// Reads a body. Everything that is borrowed from it is gone when this returns.
pub(crate) fn read(
    bytes: &[u8],
    config: &Config,
    received_at: Timestamp,
) -> Result<Batch, PayloadError> {
    let text = str::from_utf8(bytes).map_err(|error| PayloadError::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let kept = Kept {
        alerts: config.alerts_max,
        labels: config.labels_max,
        annotations: config.annotations_max,
    };
    let body = parse(text, kept)
        .map_err(|error| PayloadError::NotJson(Untrusted::new(error.to_string()).one_line(200)))?;
    let (group, alerts) = check(&body, received_at)?;
    let mut batch = Batch {
        entries: Vec::with_capacity(alerts.len()),
        rejected: Vec::new(),
        cut: body.alerts_cut,
        truncated: group.truncated,
    };
    // About what one event takes, so that writing it does not have to ask for room again and again.
    let room = bytes.len() / alerts.len().max(1);
    for (place, alert) in alerts.iter().enumerate() {
        let alert = match alert {
            Shaped::Is(alert) => alert,
            Shaped::Absent => {
                batch
                    .rejected
                    .push((place, AlertError::NotAnObject("nothing")));
                continue;
            }
            Shaped::Wrong(kind) => {
                batch.rejected.push((place, AlertError::NotAnObject(kind)));
                continue;
            }
        };
        match entry(alert, &group, config, room) {
            Ok(entry) => batch.entries.push(entry),
            Err(error) => batch.rejected.push((place, error)),
        }
    }
    match batch.rejected.first() {
        Some((_, first)) if batch.entries.is_empty() => Err(PayloadError::NoneUsable {
            count: alerts.len(),
            first: first.clone(),
        }),
        _ => Ok(batch),
    }
}

type Alerts<'b, 'a> = &'b [Shaped<RawAlert<'a>>];

fn check<'b, 'a>(
    body: &'b RawBody<'a>,
    received_at: Timestamp,
) -> Result<(Group, Alerts<'b, 'a>), PayloadError> {
    if body.version.text() != Some(VERSION) {
        return Err(PayloadError::Version {
            found: body.version.describe(),
        });
    }
    let field = |field, found: String, expected| PayloadError::Field {
        field,
        found,
        expected,
    };
    let key = body.group_key.text().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| {
        field(
            "groupKey",
            body.group_key.describe(),
            "the group's key as text",
        )
    })?;
    let missing = |found: &str| field("alerts", found.to_owned(), "an array of at least one alert");
    let alerts = match &body.alerts {
        Shaped::Is(alerts) if !alerts.is_empty() => alerts.as_slice(),
        Shaped::Is(_) => return Err(missing("empty")),
        Shaped::Absent => return Err(missing("nothing")),
        Shaped::Wrong(kind) => return Err(missing(kind)),
    };
    let truncated = match &body.truncated {
        Loose::Absent => 0,
        Loose::Scalar(number) => number.parse().unwrap_or(1),
        // Unreadable is not the same as none: at least one may be missing.
        Loose::Text(_) | Loose::Wrong(_) => 1,
    };
    let group = Group {
        key: GroupKey::from_stored(key),
        receiver: unquote(body.receiver.text().unwrap_or_default()),
        external_url: body.external_url.text().unwrap_or_default().to_owned(),
        truncated: body.alerts_cut.saturating_add(truncated),
        received_at,
    };
    Ok((group, alerts))
}

/// The entry of one alert, cut shorter until it fits.
fn entry(
    alert: &RawAlert<'_>,
    group: &Group,
    config: &Config,
    room: usize,
) -> Result<Entry, AlertError> {
    let mut shrink = 0;
    loop {
        let event = event(alert, group, Sizes::new(config, shrink))?;
        let mut payload = Vec::with_capacity(room);
        serde_json::to_writer(&mut payload, &event)
            .expect("an event has text keys and no value that JSON cannot hold");
        if payload.len() <= config.event_bytes_max.get() || shrink >= Sizes::SHRINK_MAX {
            return Ok(Entry {
                key: event.key.to_string(),
                payload,
            });
        }
        shrink += 1;
    }
}
