//! `nightshift explain <fingerprint>`: what triage decided, by which rule, on what state.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::client::Client;
use crate::output::say;
use crate::settings::Settings;

/// Prints every ruling that is kept for the alert, oldest first.
pub(crate) async fn run(settings: &Settings, fingerprint: &str) -> Result<ExitCode> {
    let hex = fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex {
        bail!(
            "{fingerprint:?} is not a fingerprint; it has 16 hex digits, as `nightshift incidents show` and Alertmanager's API print it"
        );
    }
    let rulings = Client::new(&settings.config)?
        .rulings(&fingerprint.to_ascii_lowercase())
        .await?;
    if rulings.is_empty() {
        say!("no event of alert {fingerprint} is known")?;
        return Ok(ExitCode::FAILURE);
    }
    for ruling in rulings {
        let incident = ruling
            .disposition
            .incident()
            .map(|id| format!(" {id}"))
            .unwrap_or_default();
        say!(
            "{:.0}  {}  {}{incident}",
            ruling.at,
            ruling.alert,
            ruling.disposition.label()
        )?;
        say!("    rule: {}", ruling.rule)?;
        for (name, value) in ruling.based_on {
            say!("    {name}: {value}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
