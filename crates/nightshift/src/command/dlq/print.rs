//! Dead letters for a terminal.

use std::collections::BTreeSet;

use anyhow::Result;
use incident::Untrusted;
use jiff::{SignedDuration, Timestamp};

use super::{Cause, Found, Letter};
use crate::output::say;

/// Longest line about a letter, in characters.
const LINE_CHARS_MAX: usize = 160;
/// Most of a payload that is shown, in characters.
const PAYLOAD_CHARS_MAX: usize = 4_000;
/// Most names in one line.
const NAMES_MAX: usize = 8;

fn clean(text: &str) -> String {
    Untrusted::new(text).one_line(LINE_CHARS_MAX)
}

/// `1 dead letter`, `7 dead letters`.
pub(super) fn letters(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} dead letter{plural}")
}

/// Few names as they are, many as a number.
pub(super) fn names(names: &[String]) -> String {
    match names.len() {
        0 => String::from("none"),
        1..=NAMES_MAX => names.join(", "),
        many => letters(many),
    }
}

/// How long ago, roughly: that is all a tired reader takes in.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let passed = now.duration_since(then).max(SignedDuration::ZERO);
    let (minutes, hours) = (passed.as_mins(), passed.as_hours());
    match (passed.as_secs(), minutes, hours) {
        (secs @ ..120, _, _) => format!("{secs} s ago"),
        (_, minutes @ ..120, _) => format!("{minutes} min ago"),
        (_, _, hours @ ..48) => format!("{hours} h ago"),
        (_, _, hours) => format!("{} days ago", hours / 24),
    }
}

fn cause(cause: &Cause) -> String {
    format!("{}: {}", clean(&cause.code), clean(&cause.text))
}

fn tries(attempts: u32) -> String {
    let plural = if attempts == 1 { "y" } else { "ies" };
    format!("{attempts} tr{plural}")
}

/// One letter of a list.
pub(super) fn line(letter: &Letter, now: Timestamp) -> Result<()> {
    say!(
        "{}  {}  {}, given up {}",
        clean(&letter.name),
        clean(&letter.about),
        tries(letter.attempts),
        ago(letter.buried_at, now)
    )?;
    say!("    {}", cause(&letter.last))?;
    match &letter.first {
        Some(first) if first.code != letter.last.code => say!("    first {}", cause(first)),
        _ => Ok(()),
    }
}

pub(super) fn list(found_letters: &[Letter], found: &Found, now: Timestamp) -> Result<()> {
    let Some(example) = found_letters.first() else {
        return if found.total == 0 {
            say!("no dead letters")
        } else {
            let total = usize::try_from(found.total).unwrap_or(usize::MAX);
            say!(
                "none of {} matches; leave out --code to see them",
                letters(total)
            )
        };
    };
    for letter in found_letters {
        line(letter, now)?;
    }
    say!()?;
    let shown = found_letters.len();
    if found.more {
        say!(
            "{shown} of {} dead letters; --limit shows more.",
            found.total
        )?;
    } else {
        say!("{}.", letters(shown))?;
    }
    say!("Each stays until you redrive or drop it.\n")?;
    let name = clean(&example.name);
    say!("  nightshift dlq show {name}       all of it, with its payload")?;
    say!("  nightshift dlq redrive {name}    try it again (or --all, once the reason is gone)")?;
    let codes: BTreeSet<String> = found_letters
        .iter()
        .map(|letter| clean(&letter.last.code))
        .collect();
    for code in codes.iter().take(NAMES_MAX) {
        say!("  docs/errors/{code}.md    what {code} means and what to do")?;
    }
    Ok(())
}

/// Everything about one letter.
pub(super) fn whole(letter: &Letter, now: Timestamp) -> Result<()> {
    let at = |time: Timestamp| format!("{time:.0} ({})", ago(time, now));
    say!("{}  {}", clean(&letter.name), clean(&letter.about))?;
    say!("arrived    {}", at(letter.appended_at))?;
    say!(
        "given up   {} after {}",
        at(letter.buried_at),
        tries(letter.attempts)
    )?;
    match &letter.first {
        Some(first) => say!("first      {}", cause(first))?,
        None => say!("first      the one below")?,
    }
    say!("last       {}", cause(&letter.last))?;
    say!("key        {}", clean(&letter.key))?;
    say!("payload    {} bytes", letter.payload_bytes)?;
    // Laid out if it is JSON, which it should be; made harmless in any case.
    let json = serde_json::from_str::<serde_json::Value>(&letter.payload);
    let text = json.and_then(|json| serde_json::to_string_pretty(&json));
    let text = Untrusted::new(text.unwrap_or_else(|_| letter.payload.clone()));
    say!("\n{}\n", text.block(PAYLOAD_CHARS_MAX))?;
    if text.expose().chars().nth(PAYLOAD_CHARS_MAX).is_some() {
        say!("It goes on; --json prints all of it.\n")?;
    }
    let (name, code) = (clean(&letter.name), clean(&letter.last.code));
    say!("  docs/errors/{code}.md    what {code} means and what to do")?;
    say!("  nightshift dlq redrive {name}    try it again, once the reason is gone")?;
    say!("  nightshift dlq drop {name}       throw it away")
}
