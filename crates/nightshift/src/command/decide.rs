//! `nightshift approve | reject <incident>`: shows the diff, asks back, signs, hands in.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use incident::report::ChangeOutcome;
use incident::{Approval, ApprovalKey, Decision, IncidentId, Proposal};
use jiff::SignedDuration;
use runtime::{OsEntropy, SystemClock, entropy};

use crate::cli::DecisionArgs;
use crate::client::Client;
use crate::output::{say, tell};
use crate::settings::Settings;

/// How long a token made here is good for: it is handed in at once.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// Opens the draft.
pub(crate) async fn approve(settings: &Settings, args: DecisionArgs) -> Result<ExitCode> {
    decide(settings, args, Decision::Approve).await
}

/// Turns the proposal down.
pub(crate) async fn reject(settings: &Settings, args: DecisionArgs) -> Result<ExitCode> {
    decide(settings, args, Decision::Reject).await
}

async fn decide(settings: &Settings, args: DecisionArgs, decision: Decision) -> Result<ExitCode> {
    let id = IncidentId::parse(&args.incident)?;
    if args.person.trim().is_empty() {
        bail!("nobody is named; say who decides with --as PERSON");
    }
    let client = Client::new(&settings.config)?;
    let detail = client.incident(id.as_str()).await?;
    let proposal = match detail.report.map(|report| report.change) {
        Some(ChangeOutcome::AwaitingApproval { proposal }) => proposal,
        Some(ChangeOutcome::Opened { draft, .. }) => {
            bail!(
                "the draft of {id} is open already: branch {} of {}",
                draft.branch,
                draft.repository
            )
        }
        Some(ChangeOutcome::Rejected { by, .. }) => {
            bail!("{by} rejected the proposal of {id} already")
        }
        Some(ChangeOutcome::None { why } | ChangeOutcome::Failed { why }) => {
            bail!("{id} proposes no change: {why}")
        }
        None => bail!("{id} has no report yet; wait for it with `nightshift incidents watch`"),
    };
    let shown = show(&proposal);
    if !args.yes {
        // Nobody decides on what they were not shown; --yes means they have seen it.
        shown?;
    }
    let question = match decision {
        Decision::Approve => "Open this draft?",
        Decision::Reject => "Reject this change?",
    };
    if !args.yes && !confirmed(question)? {
        say!("nothing was decided")?;
        return Ok(ExitCode::FAILURE);
    }
    let key = settings
        .config
        .approval_key()?
        .context("no approval key; Nightshift makes one when it starts: start or restart it, or set approval.key_file")?;
    client
        .decide(&sign(&key, &proposal, decision, &args.person))
        .await?;
    match decision {
        Decision::Approve => say!(
            "approved; the draft branch {} is being opened",
            proposal.request.branch()
        )?,
        Decision::Reject => say!("rejected; no draft is opened")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A token for exactly this proposal.
pub(crate) fn sign(
    key: &ApprovalKey,
    proposal: &Proposal,
    decision: Decision,
    person: &str,
) -> incident::ApprovalToken {
    use incident::ports::Clock as _;
    let now = SystemClock::new().now();
    key.sign(Approval {
        incident: proposal.request.incident.clone(),
        decision,
        proposal: proposal.digest(),
        person: person.to_owned(),
        nonce: entropy::nonce(&OsEntropy, 16),
        expires_at: now.checked_add(LIFETIME).unwrap_or(now),
    })
}

fn show(proposal: &Proposal) -> Result<()> {
    say!("{}\n", proposal.title)?;
    say!(
        "repository {}  base {}  branch {}",
        proposal.request.repository,
        proposal.preview.base,
        proposal.request.branch()
    )?;
    say!("risk: {}", proposal.risk)?;
    say!("undo: {}\n", proposal.undo)?;
    say!(
        "{}",
        incident::Untrusted::new(proposal.preview.diff.as_str()).block(20_000)
    )?;
    say!()
}

/// Asks back on the terminal.
pub(crate) fn confirmed(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("standard input is no terminal to ask back on; say --yes");
    }
    tell!("{question} [y/N] ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
