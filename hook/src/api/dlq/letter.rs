//! A dead letter as it is shown. Everything in it may come from outside, so it is made harmless for
//! a terminal here already.

use incident::ports::{Cause, DeadLetter};
use incident::{AlertEvent, Untrusted, WorkItem};
use jiff::Timestamp;
use serde::Serialize;

/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 400;

/// A line of a list.
#[derive(Debug, Serialize)]
pub(super) struct Letter {
    /// What it is called: `critical/17`.
    name: String,
    stream: &'static str,
    id: String,
    /// What it is about, in a line.
    about: String,
    /// Its idempotency key.
    key: String,
    attempts: u32,
    /// Why it was first put back, if it ever was.
    first: Option<Line>,
    /// Why it was given up.
    last: Line,
    appended_at: Timestamp,
    buried_at: Timestamp,
    payload_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Line {
    code: String,
    text: String,
}

/// A letter with its payload.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    letter: Letter,
    /// The payload as text; bytes that are none are replaced.
    payload: String,
}

impl Letter {
    pub(super) fn new(stream: &'static str, letter: &DeadLetter) -> Self {
        Self {
            name: super::name(stream, &letter.id),
            stream,
            id: letter.id.clone(),
            about: about(stream, &letter.payload),
            key: line(letter.key.as_str()),
            attempts: letter.attempts,
            first: letter.first.as_ref().map(Line::new),
            last: Line::new(&letter.last),
            appended_at: letter.appended_at,
            buried_at: letter.buried_at,
            payload_bytes: letter.payload.len(),
        }
    }
}

impl Line {
    fn new(cause: &Cause) -> Self {
        Self {
            code: line(cause.code.as_str()),
            text: line(cause.text.as_str()),
        }
    }
}

impl Whole {
    pub(super) fn new(stream: &'static str, letter: &DeadLetter) -> Self {
        Self {
            letter: Letter::new(stream, letter),
            payload: String::from_utf8_lossy(&letter.payload).into_owned(),
        }
    }
}

fn line(text: impl Into<String>) -> String {
    Untrusted::new(text).one_line(LINE_CHARS_MAX)
}

/// What a person wants to know first: which alert, or what was to be done with which incident.
fn about(stream: &str, payload: &[u8]) -> String {
    if stream == super::EVENTS {
        if let Ok(event) = serde_json::from_slice::<AlertEvent>(payload) {
            let (status, name) = (event.status.as_str(), event.name());
            return line(format!("{status} alert {name} ({})", event.severity()));
        }
    } else if let Ok(item) = serde_json::from_slice::<WorkItem>(payload) {
        return line(format!("{} {}", item.step, item.incident));
    }
    line(format!(
        "unreadable: {}",
        String::from_utf8_lossy(payload.get(..200).unwrap_or(payload))
    ))
}
