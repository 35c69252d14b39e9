//! `nightshift incidents list | show | watch`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use incident::IncidentId;
use incident::ports::Clock as _;
use pipelines::render;
use runtime::{Shutdown, SystemClock};
use serde_json::Value;

use crate::cli::{Format, IncidentsAction, StatusFilter};
use crate::client::Client;
use crate::output::{complain, say, tell};
use crate::settings::Settings;

/// How often `watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How many incidents `watch` follows.
const WATCH_MAX: usize = 100;

/// Runs one action.
pub(crate) async fn run(settings: &Settings, action: IncidentsAction) -> Result<ExitCode> {
    let client = Client::new(&settings.config)?;
    match action {
        IncidentsAction::List {
            status,
            limit,
            json,
        } => list(&client, status, limit, json).await,
        IncidentsAction::Show { incident, format } => show(&client, &incident, format).await,
        IncidentsAction::Watch => watch(&client).await,
    }
}

async fn list(
    client: &Client,
    status: Option<StatusFilter>,
    limit: usize,
    json: bool,
) -> Result<ExitCode> {
    let status = status.map(|status| match status {
        StatusFilter::Open => "open",
        StatusFilter::Resolved => "resolved",
    });
    let rows = client.incidents(status, limit).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("no incidents")?;
    }
    for row in &rows {
        say!("{}", line(row))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, incident: &str, format: Format) -> Result<ExitCode> {
    let id = IncidentId::parse(incident)?;
    let detail = client.incident(id.as_str()).await?;
    let Some(report) = detail.report else {
        say!("{id}: {}", detail.incident.title())?;
        say!("no report yet; `nightshift incidents watch` shows when it is there")?;
        return Ok(ExitCode::SUCCESS);
    };
    let color = std::io::stdout().is_terminal();
    match format {
        Format::Terminal => tell!(
            "{}",
            render::terminal(&report, &render::TerminalStyle { color, width: 80 })
        )?,
        Format::Markdown => tell!("{}", render::markdown(&report))?,
        Format::Json => say!("{}", render::json(&report))?,
        Format::Html => tell!("{}", render::html(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line whenever an incident's line changes.
async fn watch(client: &Client) -> Result<ExitCode> {
    let clock = SystemClock::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let signal = Shutdown::signal();
    tokio::pin!(signal);
    let mut rows = client.incidents(None, WATCH_MAX).await?;
    let mut away = false;
    loop {
        for row in rows.iter().rev() {
            let id = text(row, "id").to_owned();
            let line = line(row);
            if seen.get(&id) != Some(&line) {
                say!("{:.0}  {line}", clock.now())?;
                seen.insert(id, line);
            }
        }
        tokio::select! {
            biased;
            result = &mut signal => { result?; return Ok(ExitCode::SUCCESS); }
            () = clock.sleep(WATCH_EVERY) => {}
        }
        // Whoever watches wants to go on watching after a restart.
        match client.incidents(None, WATCH_MAX).await {
            Ok(newer) => {
                if away {
                    complain!("it answers again");
                }
                (rows, away) = (newer, false);
            }
            Err(error) => {
                if !away {
                    complain!("{error:#}; trying again every second");
                }
                away = true;
            }
        }
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn line(row: &Value) -> String {
    format!(
        "{}  {:<8}  {:<8}  {:<12}  {:<17}  {}",
        text(row, "id"),
        text(row, "status"),
        text(row, "severity"),
        text(row, "verdict"),
        text(row, "change"),
        text(row, "title"),
    )
}
