//! Dead letters: `GET /api/v1/dlq` lists them, `GET /api/v1/dlq/{stream}/{id}` shows one, a signed
//! order sent there redrives or drops it.
//!
//! An order is signed like a decision: the credentials of this port are also in Alertmanager's and
//! the scaler's hands, and neither may throw anything away.

mod letter;
mod order;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use incident::ports::{DeadLetter, StreamError};
use incident::{Severity, Stream};
use serde::{Deserialize, Serialize};

pub(crate) use self::order::carry_out;

use self::letter::{Letter, Whole};
use super::read::ReadError;
use crate::state::Hook;

/// Letters of a page whose size was not asked for.
const PAGE: usize = 50;
/// Letters read at once: each may have a payload of a mebibyte.
const SCAN_STEP: usize = 16;
/// The short name of the stream of events.
const EVENTS: &str = "events";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// Only this stream: `events`, `critical`, `warning`, `info`.
    stream: Option<String>,
    /// Only letters that were given up with this code.
    code: Option<String>,
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Page {
    letters: Vec<Letter>,
    /// `after` of the next page; none when this is the last.
    next: Option<String>,
    /// Dead letters of all streams asked for, whatever their code.
    total: u64,
}

/// What a letter is called: `critical/17`.
fn name(stream: &str, id: &str) -> String {
    format!("{stream}/{id}")
}

fn wrong(field: &'static str, why: String) -> ReadError {
    ReadError::Ask { field, why }
}

impl Hook {
    /// Every stream by its short name, in the order in which they are listed.
    fn streams(&self) -> impl Iterator<Item = (&'static str, &dyn Stream)> {
        let work = Severity::ALL.into_iter().filter_map(|severity| {
            let stream = self.work().get(&severity)?;
            Some((severity.lane(), stream.as_ref()))
        });
        std::iter::once((EVENTS, self.events())).chain(work)
    }

    fn named(&self, stream: &str) -> Result<(&'static str, &dyn Stream), ReadError> {
        let found = self.streams().find(|(name, _)| *name == stream);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.streams().map(|(name, _)| name).collect();
            wrong(
                "stream",
                format!("{stream:?} is none of {}", known.join(", ")),
            )
        })
    }
}

/// Why dead letters could not be read.
fn unread(error: StreamError) -> ReadError {
    ReadError::Stream(error)
}

pub(crate) async fn list(
    State(hook): State<Hook>,
    ask: Result<Query<Ask>, QueryRejection>,
) -> Response {
    let page = async {
        let Query(ask) = ask.map_err(|rejection| wrong("query", rejection.body_text()))?;
        page_of(&hook, &ask).await
    };
    match hook.ask(page).await {
        Ok(page) => Json(page).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn page_of(hook: &Hook, ask: &Ask) -> Result<Page, ReadError> {
    let limit_max = hook.config().page_max;
    let limit = ask.limit.unwrap_or(PAGE.min(limit_max));
    if !(1..=limit_max).contains(&limit) {
        let why = format!("{limit} is not between 1 and {limit_max}");
        return Err(wrong("limit", why));
    }
    let streams: Vec<(&'static str, &dyn Stream)> = match &ask.stream {
        Some(stream) => vec![hook.named(stream)?],
        None => hook.streams().collect(),
    };
    let mut page = Page {
        letters: Vec::new(),
        next: None,
        total: 0,
    };
    for (_, stream) in &streams {
        page.total += stream.backlog().await.map_err(unread)?.dead;
    }
    let mut streams = streams.as_slice();
    let mut after = None;
    if let Some(at) = &ask.after {
        let (stream, id) = at.split_once('/').unwrap_or((at, ""));
        let found = streams.iter().position(|(name, _)| *name == stream);
        let found =
            found.ok_or_else(|| wrong("after", format!("{at:?} is not `next` of a page")))?;
        streams = streams.get(found..).unwrap_or_default();
        after = Some(id.to_owned());
    }
    let mut looked_at = 0;
    for (short, stream) in streams {
        let mut after = after.take();
        loop {
            let step = dead(*stream, after.as_deref()).await?;
            let is_last = step.len() < SCAN_STEP;
            for letter in step {
                if page.letters.len() == limit || looked_at == hook.config().scan_max {
                    page.next = Some(name(short, after.as_deref().unwrap_or_default()));
                    return Ok(page);
                }
                looked_at += 1;
                after = Some(letter.id.clone());
                if ask
                    .code
                    .as_ref()
                    .is_none_or(|code| *code == letter.last.code)
                {
                    page.letters.push(Letter::new(short, &letter));
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(page)
}

async fn dead(stream: &dyn Stream, after: Option<&str>) -> Result<Vec<DeadLetter>, ReadError> {
    stream.dead(after, SCAN_STEP).await.map_err(unread)
}

pub(crate) async fn show(
    State(hook): State<Hook>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Response {
    let found = async {
        let Path((stream, id)) = path.map_err(|rejection| wrong("path", rejection.body_text()))?;
        let (short, stream) = hook.named(&stream)?;
        let letter = find(&hook, stream, &id).await?;
        let letter = letter.ok_or_else(|| missing(short, &id))?;
        Ok::<_, ReadError>(Whole::new(short, &letter))
    };
    match hook.ask(found).await {
        Ok(letter) => Json(letter).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

fn missing(stream: &str, id: &str) -> ReadError {
    ReadError::NotFound {
        what: "dead letter",
        name: name(stream, id),
    }
}

/// Looks for a letter among the first `scan_max`.
async fn find(hook: &Hook, stream: &dyn Stream, id: &str) -> Result<Option<DeadLetter>, ReadError> {
    let mut after: Option<String> = None;
    for _ in 0..hook.config().scan_max.div_ceil(SCAN_STEP) {
        let step = dead(stream, after.as_deref()).await?;
        after = step.last().map(|letter| letter.id.clone());
        let found = step.into_iter().find(|letter| letter.id == id);
        if found.is_some() || after.is_none() {
            return Ok(found);
        }
    }
    Err(wrong(
        "id",
        format!(
            "it is not among the first {} dead letters, and no more are looked through (hook.scan_max)",
            hook.config().scan_max
        ),
    ))
}
