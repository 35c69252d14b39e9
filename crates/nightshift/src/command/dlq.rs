//! `nightshift dlq list | show | redrive | drop`: what was given up, and what to do about it.
//!
//! Whoever calls this is tired. It says what there is, why, and the next command; it throws nothing
//! away without being told so twice; and after an error it says what was done and what was not.

mod print;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use incident::order::Action;
use incident::ports::Clock as _;
use incident::{ApprovalKey, Order};
use jiff::SignedDuration;
use runtime::SystemClock;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{DlqAction, DlqFilter, DlqOrderArgs};
use crate::client::{Client, Obeyed};
use crate::command::decide::confirmed;
use crate::output::{complain, say};
use crate::settings::Settings;

/// How long an order made here is good for: it is handed in at once.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// Most letters of one command.
const LETTERS_MAX: usize = 10_000;
/// Most letters that are shown before a question about them.
const SHOWN_MAX: usize = 10;

/// Runs one action.
pub(crate) async fn run(settings: &Settings, action: DlqAction) -> Result<ExitCode> {
    let client = Client::new(&settings.config)?;
    match action {
        DlqAction::List {
            filter,
            limit,
            json,
        } => list(&client, &filter, limit, json).await,
        DlqAction::Show { letter, json } => show(&client, &letter, json).await,
        DlqAction::Redrive(args) => order(settings, &client, Action::Redrive, args).await,
        DlqAction::Drop(args) => order(settings, &client, Action::Drop, args).await,
    }
}

/// A dead letter as the API shows it.
#[derive(Debug, Deserialize)]
struct Letter {
    name: String,
    about: String,
    key: String,
    attempts: u32,
    first: Option<Cause>,
    last: Cause,
    appended_at: jiff::Timestamp,
    buried_at: jiff::Timestamp,
    payload_bytes: usize,
    #[serde(default)]
    payload: String,
}

#[derive(Debug, Deserialize)]
struct Cause {
    code: String,
    text: String,
}

fn read(row: &Value) -> Result<Letter> {
    Letter::deserialize(row).context("the API's answer about a dead letter cannot be read")
}

/// Dead letters that were found.
struct Found {
    rows: Vec<Value>,
    /// Of the streams that were asked for, whatever their code.
    total: u64,
    /// Whether there are more than were taken.
    more: bool,
}

/// Reads pages until there are `max` letters or no more.
async fn find(client: &Client, filter: &DlqFilter, max: usize) -> Result<Found> {
    let stream = filter.stream.map(crate::cli::DlqStream::name);
    let mut found = Found {
        rows: Vec::new(),
        total: 0,
        more: false,
    };
    let mut after: Option<String> = None;
    loop {
        let page = client
            .dead_letters(stream, filter.code.as_deref(), after.as_deref())
            .await?;
        found.total = page.total;
        found.rows.extend(page.letters);
        if page.next.is_none() || found.rows.len() > max || after == page.next {
            found.more = page.next.is_some() || found.rows.len() > max;
            found.rows.truncate(max);
            return Ok(found);
        }
        after = page.next;
    }
}

async fn list(client: &Client, filter: &DlqFilter, limit: usize, json: bool) -> Result<ExitCode> {
    let found = find(client, filter, limit.min(LETTERS_MAX)).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&found.rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let letters: Vec<Letter> = found.rows.iter().map(read).collect::<Result<_>>()?;
    print::list(&letters, &found, SystemClock::new().now())?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, name: &str, json: bool) -> Result<ExitCode> {
    let (stream, id) = parse(name)?;
    let row = client.dead_letter(stream, id).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&row)?)?;
    } else {
        print::whole(&read(&row)?, SystemClock::new().now())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stream and id of a letter's name.
fn parse(name: &str) -> Result<(&str, &str)> {
    let plain = |text: &str| {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        !text.is_empty() && text.bytes().all(good) && !text.starts_with('.')
    };
    match name.split_once('/') {
        Some((stream, id)) if plain(stream) && plain(id) => Ok((stream, id)),
        _ => bail!(
            "{name:?} is not the name of a dead letter; they look like critical/17, as `nightshift dlq list` prints them"
        ),
    }
}

/// What became of the letters of one command.
#[derive(Debug, Default)]
struct Outcome {
    done: Vec<String>,
    /// Somebody else was faster.
    gone: Vec<String>,
    left: Vec<String>,
    /// Why the rest was left.
    stopped: Option<anyhow::Error>,
}

async fn order(
    settings: &Settings,
    client: &Client,
    action: Action,
    args: DlqOrderArgs,
) -> Result<ExitCode> {
    if args.person.trim().is_empty() {
        bail!("nobody is named; say who orders this with --as PERSON");
    }
    let key = settings
        .config
        .approval_key()?
        .context("no approval key to sign the order with; run this where Nightshift runs, or set approval.key_file")?;
    let (names, more) = chosen(client, action, &args).await?;
    if names.is_empty() {
        if args.json {
            report_json(&Outcome::default())?;
        } else {
            say!("no dead letter matches; nothing was done")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if action == Action::Drop && !args.yes {
        let question = format!("Drop {} for good?", print::letters(names.len()));
        if !confirmed(&question)? {
            say!("nothing was dropped")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    let outcome = carry_out(client, &key, action, &args.person, names).await;
    if args.json {
        report_json(&outcome)?;
    } else {
        report(action, &outcome, more)?;
    }
    // Asked for by name and not there: not what was wanted. Of --all, somebody else did it.
    let missed = !args.all && !outcome.gone.is_empty();
    Ok(if outcome.stopped.is_some() || missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The letters that are meant, and whether there are more than one command takes. Shows them before
/// a question is asked about them.
async fn chosen(
    client: &Client,
    action: Action,
    args: &DlqOrderArgs,
) -> Result<(Vec<String>, bool)> {
    let asks = action == Action::Drop && !args.yes;
    if !args.all {
        for name in &args.letters {
            let (stream, id) = parse(name)?;
            if asks {
                let row = client.dead_letter(stream, id).await?;
                print::line(&read(&row)?, SystemClock::new().now())?;
            }
        }
        return Ok((args.letters.clone(), false));
    }
    // All of them first: what dies again meanwhile is not taken twice.
    let found = find(client, &args.filter, LETTERS_MAX).await?;
    let letters: Vec<Letter> = found.rows.iter().map(read).collect::<Result<_>>()?;
    if asks {
        for letter in letters.iter().take(SHOWN_MAX) {
            print::line(letter, SystemClock::new().now())?;
        }
        if letters.len() > SHOWN_MAX {
            say!("... and {} more", letters.len() - SHOWN_MAX)?;
        }
    }
    let names = letters.into_iter().map(|letter| letter.name).collect();
    Ok((names, found.more))
}

/// One order after the other; the first error ends it, because the next would most likely be the
/// same.
async fn carry_out(
    client: &Client,
    key: &ApprovalKey,
    action: Action,
    person: &str,
    names: Vec<String>,
) -> Outcome {
    let clock = SystemClock::new();
    let mut outcome = Outcome::default();
    for name in names {
        if outcome.stopped.is_some() {
            outcome.left.push(name);
            continue;
        }
        let obeyed = async {
            let (stream, letter) = parse(&name)?;
            let order = Order {
                action,
                stream: stream.to_owned(),
                letter: letter.to_owned(),
                person: person.to_owned(),
                expires_at: clock.now().checked_add(LIFETIME)?,
            };
            client.order(&order.sign(key)).await
        };
        match obeyed.await {
            Ok(Obeyed::Done) => outcome.done.push(name),
            Ok(Obeyed::Gone) => outcome.gone.push(name),
            Err(error) => {
                outcome.stopped = Some(error);
                outcome.left.push(name);
            }
        }
    }
    outcome
}

fn report(action: Action, outcome: &Outcome, more: bool) -> Result<()> {
    let verb = match action {
        Action::Redrive => "redriven",
        Action::Drop => "dropped",
    };
    if !outcome.done.is_empty() {
        say!("{verb}: {}", print::names(&outcome.done))?;
    }
    if !outcome.gone.is_empty() {
        let gone = print::names(&outcome.gone);
        say!("not there: {gone}; somebody redrove or dropped it before, or the name is wrong")?;
    }
    if let Some(error) = &outcome.stopped {
        complain!("error: {error:#}");
        complain!("left as they were: {}", print::names(&outcome.left));
    }
    if more {
        say!("there are more; run the same command again")?;
    }
    if action == Action::Redrive && !outcome.done.is_empty() {
        say!("each is at the end of its stream now; what fails again comes back to this list")?;
    }
    Ok(())
}

fn report_json(outcome: &Outcome) -> Result<()> {
    let stopped = outcome.stopped.as_ref().map(|error| format!("{error:#}"));
    let report = json!({
        "done": outcome.done,
        "gone": outcome.gone,
        "left": outcome.left,
        "stopped": stopped,
    });
    say!("{}", serde_json::to_string_pretty(&report)?)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_are_plain() {
        assert_eq!(parse("critical/17").unwrap(), ("critical", "17"));
        assert_eq!(parse("events/1732-0").unwrap(), ("events", "1732-0"));
        for odd in [
            "",
            "17",
            "/17",
            "critical/",
            "a/b/c",
            "a/..",
            "critical/1?x=y",
            "a/%2e",
            "ä/1",
        ] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }
}
