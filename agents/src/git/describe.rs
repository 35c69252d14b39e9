//! A change in words: one sentence.

use incident::Change;
use incident::window::Window;
use jiff::{SignedDuration, Timestamp};
use runtime::git::Landing;

/// Services named at most.
const SERVICES_MAX: usize = 6;

/// `a1b2c3d4e5 by Ada at 10:41:12 UTC: "Lower pool size" (1 file, +1 -1, services: cart)`.
pub(super) fn change(change: &Change, step: &Landing, window: Window) -> String {
    let merge = if change.parents.len() > 1 {
        "merge "
    } else {
        ""
    };
    let author = change.author.one_line(60);
    let same_day = window.end.duration_since(change.at) < SignedDuration::from_hours(20);
    let at = if same_day {
        time(change.at)
    } else {
        instant(change.at)
    };
    let subject = change.subject.one_line(100);
    let refuted = match step.claimed {
        Some(claimed) if claimed != step.at => {
            format!(
                "; its own date, {}, contradicts the history around it",
                instant(claimed)
            )
        }
        None => "; its own date cannot be read".to_owned(),
        Some(_) => String::new(),
    };
    let size = size(change);
    let services = services(&change.services);
    format!(
        "{merge}{} by {author} at {at}: \"{subject}\" ({size}, {services}){refuted}",
        change.short()
    )
}

fn size(change: &Change) -> String {
    let files = change
        .files
        .len()
        .saturating_add(usize::try_from(change.files_left_out).unwrap_or(usize::MAX));
    let noun = if files == 1 { "file" } else { "files" };
    let sum = |side: fn(&incident::FileChange) -> Option<u32>| {
        change
            .files
            .iter()
            .filter_map(side)
            .fold(0u32, u32::saturating_add)
    };
    let (added, removed) = (sum(|file| file.added), sum(|file| file.removed));
    let least = if change.files_left_out > 0 {
        "at least "
    } else {
        ""
    };
    format!("{files} {noun}, {least}+{added} -{removed}")
}

fn services(services: &[String]) -> String {
    if services.is_empty() {
        return "no known service".to_owned();
    }
    let named = services
        .iter()
        .take(SERVICES_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = services.len().saturating_sub(SERVICES_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("services: {named}{more}")
}

fn time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

/// `2026-05-29 10:41:12 UTC`.
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
