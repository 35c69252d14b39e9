//! Listing tasks, newest change first. For people: it reads the records of the agent, as many as
//! the configuration allows.

use std::cmp::Reverse;

use a2a_types as sdk;
use incident::ids::TaskId;

use crate::failure::Failure;

use super::live::Core;
use super::record::Record;
use super::request::{bad_field, history_length};

/// Tasks on one page, by default and at most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 100;

/// Where a task stands in a listing; its text is the page token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    changed_ms: Reverse<i64>,
    id: String,
}

impl Position {
    fn of(record: &Record) -> Self {
        Self {
            changed_ms: Reverse(record.changed_at.as_millisecond()),
            id: record.task.to_string(),
        }
    }

    fn token(&self) -> String {
        format!("{}.{}", self.changed_ms.0, self.id)
    }

    fn parse(token: &str) -> Result<Self, sdk::A2AError> {
        let parsed = token.split_once('.').and_then(|(changed, id)| {
            Some(Self {
                changed_ms: Reverse(changed.parse().ok()?),
                id: id.to_owned(),
            })
        });
        let why = "is none of ours; send nextPageToken as it came, or none for the first page";
        parsed.ok_or_else(|| bad_field("pageToken", why))
    }
}

/// `ListTasks`
pub(super) async fn list(
    core: &Core,
    request: &sdk::ListTasksRequest,
) -> Result<sdk::ListTasksResponse, sdk::A2AError> {
    let history = history_length("historyLength", request.history_length)?;
    let size = page_size(request.page_size)?;
    let after = request
        .page_token
        .as_deref()
        .map(Position::parse)
        .transpose()?;
    let mut found = positions(core, request).await?;
    found.sort();
    let total = found.len();
    found.retain(|position| after.as_ref().is_none_or(|after| position > after));
    let more = found.len() > size;
    found.truncate(size);
    let mut tasks = Vec::with_capacity(found.len());
    for position in &found {
        let id = TaskId::from_stored(position.id.as_str());
        // It may have expired since it was seen.
        let Some(kept) = core.ask(|| core.tasks.load(&id)).await? else {
            continue;
        };
        let mut task = core.task(&kept.record, history).await?;
        task.artifacts = task
            .artifacts
            .filter(|_| request.include_artifacts == Some(true));
        tasks.push(task);
    }
    let last = found.last().filter(|_| more);
    Ok(sdk::ListTasksResponse {
        tasks,
        next_page_token: last.map(Position::token).unwrap_or_default(),
        page_size: i32::try_from(size).unwrap_or(i32::MAX),
        total_size: i32::try_from(total).unwrap_or(i32::MAX),
    })
}

async fn positions(
    core: &Core,
    request: &sdk::ListTasksRequest,
) -> Result<Vec<Position>, sdk::A2AError> {
    let since = request
        .status_timestamp_after
        .map(|since| since.timestamp_millis());
    let takes = |record: &Record| {
        let changed = record.changed_at.as_millisecond();
        request
            .context_id
            .as_ref()
            .is_none_or(|context| *context == record.context_id())
            && request
                .status
                .as_ref()
                .is_none_or(|state| *state == record.state.sdk())
            && since.is_none_or(|since| changed > since)
    };
    let max = usize::try_from(core.config.list_scan_max).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let scan = core.tasks.scan(max, |record| {
        if takes(&record) {
            found.push(Position::of(&record));
        }
    });
    // Not tried again: a listing is for people, who can ask again.
    let whole = scan
        .await
        .map_err(|error| Failure::Store.error(error.to_string()))?;
    if !whole {
        tracing::warn!(agent = core.tasks.agent, max, "a listing leaves out tasks");
    }
    Ok(found)
}

fn page_size(asked: Option<i32>) -> Result<usize, sdk::A2AError> {
    let size = asked.map_or(Ok(PAGE_DEFAULT), usize::try_from);
    size.ok()
        .filter(|size| (1..=PAGE_MAX).contains(size))
        .ok_or_else(|| bad_field("pageSize", "is not between 1 and 100; leave it out for 50"))
}
