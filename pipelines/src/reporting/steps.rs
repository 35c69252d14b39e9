//! What a person can do now.

use incident::report::ChangeOutcome;
use incident::{IncidentStatus, Untrusted};

use super::Inputs;

/// A link is shown only up to this length.
const LINK_CHARS: usize = 300;

pub(super) fn steps(inputs: &Inputs<'_>) -> Vec<String> {
    let id = &inputs.incident.id;
    let mut steps = Vec::new();
    match &inputs.change {
        ChangeOutcome::AwaitingApproval { proposal } => {
            steps.push(format!(
                "Read the diff; `nightshift approve {id}` opens it as a draft against {}, \
                 `nightshift reject {id}` drops it.",
                Untrusted::new(&proposal.preview.base).one_line(60)
            ));
        }
        ChangeOutcome::Opened { draft, .. } => {
            steps.push(format!(
                "Review the draft and merge it into {} if you agree.",
                draft.base
            ));
        }
        ChangeOutcome::None { .. }
        | ChangeOutcome::Rejected { .. }
        | ChangeOutcome::Failed { .. } => {}
    }
    if inputs.incident.status == IncidentStatus::Resolved
        && matches!(
            inputs.change,
            ChangeOutcome::AwaitingApproval { .. } | ChangeOutcome::Opened { .. }
        )
    {
        steps.push("The alerts resolved; see whether the change is still needed.".to_owned());
    }
    steps.extend(inputs.diagnosis.next_checks.iter().cloned());
    if let Some(runbook) = runbook(inputs) {
        steps.push(format!("The alert's runbook: {runbook}"));
    }
    steps
}

/// The runbook of the leading alert, if it is a web address.
fn runbook(inputs: &Inputs<'_>) -> Option<String> {
    let member = inputs.incident.lead()?;
    let link = ["runbook_url", "runbook"]
        .iter()
        .find_map(|name| member.annotations.get(*name))?;
    let text = link.one_line(LINK_CHARS);
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    (is_web && !text.contains(' ')).then_some(text)
}
