//! What to do next: a pure function from the journal to one action.

use jiff::Timestamp;

use super::{ChangeState, Journal, Tries};

/// One step. Each is performed, its result recorded, and the journal asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell on call that somebody is looking.
    Announce,
    /// Ask the specialists that have not answered.
    Collect,
    /// Number the facts and rank the causes.
    Diagnose,
    /// Ask the forge what the change would do, and make it a proposal.
    Preview,
    /// Take the proposal back: the incident is over and nobody has decided.
    Withdraw,
    /// Open the draft that a person or the policy gave leave for.
    OpenDraft,
    /// See whether the open draft is still of use, now that the incident is over.
    CheckDraft,
    /// Write the report anew.
    WriteReport,
    /// Tell the channels of the newest report.
    Notify,
    /// Nothing to do until somebody says something new.
    Rest(Rest),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A person is asked about the proposal.
    AwaitingDecision,
    /// The report is out and says all there is to say while the alerts fire.
    Reported,
    /// The final report is out.
    Closed,
}

impl Action {
    /// The value of the `stage` label in metrics, and the stage in progress notes.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Collect => "collect",
            Self::Diagnose => "diagnose",
            Self::Preview => "preview",
            Self::Withdraw => "withdraw",
            Self::OpenDraft => "open_draft",
            Self::CheckDraft => "check_draft",
            Self::WriteReport => "write_report",
            Self::Notify => "notify",
            Self::Rest(_) => "rest",
        }
    }
}

/// The next action. What failed and is due later is left alone until then.
pub(crate) fn next(journal: &Journal, tries: Tries, now: Timestamp) -> Action {
    if let Some(action) = investigation(journal, now) {
        return action;
    }
    if let Some(action) = change(journal, tries, now) {
        return action;
    }
    let face = journal.face();
    let Some(written) = journal.report.as_ref().filter(|w| w.face == face) else {
        return Action::WriteReport;
    };
    let is_untold = |channel: &String| {
        journal
            .told_of(channel, written.revision)
            .is_none_or(|post| post.entry.is_due(tries.notify, now))
    };
    if journal.channels.iter().any(is_untold) {
        return Action::Notify;
    }
    if written.is_stale {
        return Action::WriteReport;
    }
    match &journal.change {
        // Leave by policy needs no person, but people hear of the finding first.
        ChangeState::Proposed {
            needs_approval: false,
            ..
        } => Action::OpenDraft,
        ChangeState::Proposed { .. } => Action::Rest(Rest::AwaitingDecision),
        _ if journal.closing.is_some() => Action::Rest(Rest::Closed),
        _ => Action::Rest(Rest::Reported),
    }
}

fn investigation(journal: &Journal, now: Timestamp) -> Option<Action> {
    let is_quiet = |channel: &String| {
        journal
            .opened
            .get(channel)
            .is_none_or(|post| post.entry.is_due(1, now))
    };
    // Once it is over, or the report is there, "somebody is looking" is no news.
    let is_news = journal.closing.is_none() && journal.report.is_none();
    if is_news && journal.channels.iter().any(is_quiet) {
        return Some(Action::Announce);
    }
    let is_unheard = |agent: &String| !journal.replies.contains_key(agent);
    if journal.specialists.iter().any(is_unheard) && journal.findings.is_none() {
        return Some(Action::Collect);
    }
    journal.findings.is_none().then_some(Action::Diagnose)
}

fn change(journal: &Journal, tries: Tries, now: Timestamp) -> Option<Action> {
    let is_over = journal.closing.is_some();
    match &journal.change {
        ChangeState::Unknown | ChangeState::Delayed { .. } | ChangeState::Proposed { .. }
            if is_over =>
        {
            Some(Action::Withdraw)
        }
        ChangeState::Unknown => Some(Action::Preview),
        ChangeState::Delayed { retry_at, .. } => (*retry_at <= now).then_some(Action::Preview),
        // Leave that was given is used, also when the alerts resolve in between: the person asked
        // for the draft, and an attempt may already have got through.
        ChangeState::Opening { entry, .. } => entry
            .as_ref()
            .is_none_or(|entry| entry.is_due(tries.draft, now))
            .then_some(Action::OpenDraft),
        ChangeState::Opened { checked: false, .. } if is_over => Some(Action::CheckDraft),
        _ => None,
    }
}
