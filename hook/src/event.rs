//! One alert of a body becomes one event: identity first, then everything else within limits.
//!
//! Identity (group key, fingerprint, starts-at, status) is taken from what was sent, before anything
//! is cut, so that limits can change without the same alert getting another key. What can be
//! repaired is repaired and noted in the annotation [`NOTE`]; an alert without labels, status or
//! start has no identity and is refused alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use incident::digest::Digest;
use incident::error::{Classify, Code, Kind};
use incident::{AlertStatus, EventKey, Fingerprint, GroupKey};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::config::Config;
use crate::fingerprint::{as_sent, fingerprint};
use crate::payload::{Loose, Pairs, RawAlert, Shaped};

/// The annotation that says what of an alert was cut or repaired.
pub const NOTE: &str = "nightshift_note";

/// Go's zero time, 0001-01-01T00:00:00Z, in seconds: "no time".
const ZERO_SECOND: i64 = -62_135_596_800;

/// Why one alert of a body cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AlertError {
    /// Not an object.
    #[error("the alert is {0}, not an object")]
    NotAnObject(&'static str),
    /// No labels.
    #[error("labels is {0}, not an object of names and values")]
    Labels(&'static str),
    /// Neither firing nor resolved.
    #[error("status is {0}, neither \"firing\" nor \"resolved\"")]
    Status(String),
    /// No start.
    #[error("startsAt is {0}, not a time such as 2026-01-31T08:00:00Z")]
    StartsAt(String),
}

impl AlertError {
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::NotAnObject(_) => "",
            Self::Labels(_) => ".labels",
            Self::Status(_) => ".status",
            Self::StartsAt(_) => ".startsAt",
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotAnObject(_) => "alert_not_object",
            Self::Labels(_) => "alert_labels",
            Self::Status(_) => "alert_status",
            Self::StartsAt(_) => "alert_starts_at",
        }
    }
}

impl Classify for AlertError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        Code("E-HOOK-011")
    }
}

/// What a body says of all its alerts.
#[derive(Debug)]
pub(crate) struct Group {
    /// As sent: part of every key.
    pub(crate) key: GroupKey,
    pub(crate) receiver: String,
    pub(crate) external_url: String,
    pub(crate) truncated: u64,
    pub(crate) received_at: Timestamp,
}

/// How long the parts of one event may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    labels_max: usize,
    annotations_max: usize,
    name: usize,
    label: usize,
    annotation: usize,
}

/// A limit is never halved below this: a mark and a little text.
const SHRUNK_BYTES_MIN: usize = 96;
/// Halvings after which annotations are dropped.
const SHRINK_HARD: u32 = 6;

impl Sizes {
    /// The configured sizes, halved `shrink` times; in the end only the labels that say most.
    pub(crate) fn new(config: &Config, shrink: u32) -> Self {
        let halved = |size: usize| (size >> shrink.min(31)).max(SHRUNK_BYTES_MIN);
        let hard = shrink >= SHRINK_HARD;
        Self {
            labels_max: if hard { 16 } else { config.labels_max },
            annotations_max: if hard { 0 } else { config.annotations_max },
            name: halved(config.name_bytes_max.get()),
            label: halved(config.label_bytes_max.get()),
            annotation: halved(config.annotation_bytes_max.get()),
        }
    }

    /// Halvings that make sense.
    pub(crate) const SHRINK_MAX: u32 = SHRINK_HARD;
}

/// What was cut or repaired.
#[derive(Debug, Default)]
struct Notes {
    left_out: u64,
    cut: u64,
    not_text: u64,
    other: Vec<&'static str>,
}

impl Notes {
    fn text(&self) -> Option<String> {
        let counted = [
            (self.left_out, "labels or annotations left out"),
            (self.cut, "names or values cut"),
            (self.not_text, "values were not text"),
        ];
        let counted = counted.iter().filter(|(n, _)| *n > 0);
        let mut parts: Vec<String> = counted.map(|(n, what)| format!("{n} {what}")).collect();
        parts.extend(self.other.iter().map(|what| (*what).to_owned()));
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn bounded<'a>(&mut self, text: &'a str, bytes_max: usize) -> Cow<'a, str> {
        match shortened(text, bytes_max) {
            Some(short) => {
                self.cut += 1;
                Cow::Owned(short)
            }
            None => Cow::Borrowed(text),
        }
    }

    fn pairs<'a>(
        &mut self,
        pairs: &'a Pairs<'_>,
        (count, name_bytes, value_bytes): (usize, usize, usize),
    ) -> Texts<'a> {
        let mut out = Vec::with_capacity(pairs.kept.len().min(count) + 1);
        let beyond = pairs.kept.len().saturating_sub(count) as u64;
        self.left_out += pairs.left_out + beyond;
        for ((_, name), value) in pairs.kept.iter().take(count) {
            let value = match value {
                Loose::Text(text) => text.as_ref(),
                Loose::Scalar(scalar) => {
                    self.not_text += 1;
                    scalar.as_str()
                }
                Loose::Absent | Loose::Wrong(_) => {
                    self.not_text += 1;
                    continue;
                }
            };
            let name = self.bounded(name, name_bytes);
            let value = self.bounded(value, value_bytes);
            out.push((name, value));
        }
        Texts(out)
    }
}

/// Names and values that become an object.
#[derive(Debug, Default)]
pub(crate) struct Texts<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Texts<'_> {
    /// By name, as the vocabulary keeps them. Two names can become one when they are cut; then the
    /// more telling one stays, which came first.
    fn in_order(mut self) -> Self {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.dedup_by(|(later, _), (earlier, _)| later == earlier);
        self
    }
}

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// An [`incident::AlertEvent`] on its way to the stream. It has the same fields in the same order,
/// but its texts are still those of the body: copying each of them would cost more than all checks.
#[derive(Debug, Serialize)]
pub(crate) struct Event<'a> {
    pub(crate) key: EventKey,
    group_key: Cow<'a, str>,
    fingerprint: Fingerprint,
    status: AlertStatus,
    labels: Texts<'a>,
    annotations: Texts<'a>,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    generator_url: Cow<'a, str>,
    receiver: Cow<'a, str>,
    external_url: Cow<'a, str>,
    truncated: u64,
    received_at: Timestamp,
}

/// `text` within `bytes_max`, with a mark that keeps two texts with one beginning apart; none if it
/// fits as it is.
fn shortened(text: &str, bytes_max: usize) -> Option<String> {
    if text.len() <= bytes_max {
        return None;
    }
    let digest = Digest::of(text.as_bytes());
    let mark = format!(
        "…[cut from {} bytes, sha256 {}]",
        text.len(),
        digest.short(8)
    );
    let end = text.floor_char_boundary(bytes_max.saturating_sub(mark.len()));
    Some(format!("{}{mark}", text.get(..end).unwrap_or_default()))
}

/// The event that one alert is.
pub(crate) fn event<'a>(
    alert: &'a RawAlert<'_>,
    group: &'a Group,
    sizes: Sizes,
) -> Result<Event<'a>, AlertError> {
    let mut notes = Notes::default();
    let Shaped::Is(labels) = &alert.labels else {
        return Err(AlertError::Labels(found(&alert.labels)));
    };
    let status = status(&alert.status)?;
    let starts_at = starts_at(&alert.starts_at)?;
    let fingerprint = fingerprint_of(alert, labels, &mut notes);
    let key = EventKey::derive(
        &group.key,
        &fingerprint,
        &starts_at.to_string(),
        status.as_str(),
    );
    let ends_at = ends_at(&alert.ends_at, status, group.received_at, &mut notes);
    let kept = (sizes.labels_max, sizes.name, sizes.label);
    let labels = notes.pairs(labels, kept);
    let mut annotations = match &alert.annotations {
        Shaped::Is(pairs) => {
            let kept = (sizes.annotations_max, sizes.name, sizes.annotation);
            notes.pairs(pairs, kept)
        }
        Shaped::Absent => Texts::default(),
        Shaped::Wrong(_) => {
            notes.other.push("annotations were not an object");
            Texts::default()
        }
    };
    let generator_url = alert.generator_url.text().unwrap_or_default();
    let generator_url = notes.bounded(generator_url, sizes.annotation);
    let receiver = notes.bounded(&group.receiver, sizes.name);
    let external_url = notes.bounded(&group.external_url, sizes.label);
    let group_key = notes.bounded(group.key.as_str(), sizes.label.max(1024));
    // Whoever reads a note must be able to trust that it is ours.
    annotations.0.retain(|(name, _)| name != NOTE);
    if let Some(text) = notes.text() {
        annotations.0.push((Cow::Borrowed(NOTE), Cow::Owned(text)));
    }
    Ok(Event {
        key,
        group_key,
        fingerprint,
        status,
        labels: labels.in_order(),
        annotations: annotations.in_order(),
        starts_at,
        ends_at,
        generator_url,
        receiver,
        external_url,
        truncated: group.truncated,
        received_at: group.received_at,
    })
}

fn found<T>(shaped: &Shaped<T>) -> &'static str {
    match shaped {
        Shaped::Absent => "missing",
        Shaped::Is(_) => "an object",
        Shaped::Wrong(kind) => kind,
    }
}

fn status(sent: &Loose<'_>) -> Result<AlertStatus, AlertError> {
    match sent.text() {
        Some("firing") => Ok(AlertStatus::Firing),
        Some("resolved") => Ok(AlertStatus::Resolved),
        _ => Err(AlertError::Status(sent.describe())),
    }
}

fn time(sent: &Loose<'_>) -> Option<Timestamp> {
    let time: Timestamp = sent.text()?.parse().ok()?;
    (time.as_second() != ZERO_SECOND).then_some(time)
}

fn starts_at(sent: &Loose<'_>) -> Result<Timestamp, AlertError> {
    time(sent).ok_or_else(|| AlertError::StartsAt(sent.describe()))
}

fn ends_at(
    sent: &Loose<'_>,
    status: AlertStatus,
    received_at: Timestamp,
    notes: &mut Notes,
) -> Option<Timestamp> {
    if status == AlertStatus::Firing {
        return None;
    }
    Some(time(sent).unwrap_or_else(|| {
        notes
            .other
            .push("endsAt was not a time, the time of receipt is used");
        received_at
    }))
}

fn fingerprint_of(alert: &RawAlert<'_>, labels: &Pairs<'_>, notes: &mut Notes) -> Fingerprint {
    if let Some(sent) = alert.fingerprint.text().and_then(as_sent) {
        return sent;
    }
    notes
        .other
        .push("the fingerprint was missing, it is computed");
    let sorted: BTreeMap<&str, &str> = labels
        .kept
        .iter()
        .filter_map(|((_, name), value)| match value {
            Loose::Text(text) => Some((name.as_ref(), text.as_ref())),
            Loose::Scalar(scalar) => Some((name.as_ref(), scalar.as_str())),
            Loose::Absent | Loose::Wrong(_) => None,
        })
        .collect();
    fingerprint(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_is_marked_and_stays_apart() {
        assert_eq!(shortened("short", 128), None);
        let long = |tail: &str| format!("{}{tail}", "ä".repeat(400));
        let a = shortened(&long("a"), 128).expect("it is too long");
        let b = shortened(&long("b"), 128).expect("it is too long");
        assert!(a.len() <= 128 && b.len() <= 128, "{a}");
        assert!(a.contains("…[cut from 801 bytes, sha256 "), "{a}");
        assert_ne!(a, b);
    }
}
