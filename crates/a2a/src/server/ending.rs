//! How an execution ends, in the words of the record and of the wire.

use std::any::Any;

use incident::Untrusted;
use incident::ports::{AgentError, Outcome};

use crate::failure::Failure;
use crate::{numbers, wire};

use super::record::{Rest, State};

/// What an outcome makes of a task.
pub(super) fn rest_of(outcome: Outcome) -> Rest {
    let (state, said, output) = match outcome {
        Outcome::Completed { output } => (State::Completed, None, output),
        Outcome::InputRequired { question, output } => {
            let question = Untrusted::from(question).one_line(wire::TEXT_CHARS_MAX);
            (State::InputRequired, Some(question), output)
        }
    };
    if let Some(why) = numbers::unfit(&output) {
        return rejected(&format!("its output cannot travel: {why}"));
    }
    Rest {
        state,
        said,
        output: Some(output),
    }
}

/// A refusal for good.
pub(super) fn rejected(why: &str) -> Rest {
    Rest {
        state: State::Rejected,
        said: Some(Untrusted::from(why).one_line(wire::TEXT_CHARS_MAX)),
        output: None,
    }
}

/// The end of a task that a caller called off.
pub(super) fn canceled() -> Rest {
    Rest {
        state: State::Canceled,
        said: Some("called off by a caller".to_owned()),
        output: None,
    }
}

/// What an agent's error is called on the wire.
pub(super) fn told(error: &AgentError, late: bool) -> (Failure, String) {
    let failure = match error {
        _ if late => Failure::Deadline,
        AgentError::Deadline { .. } => Failure::Deadline,
        AgentError::Cancelled { .. } => Failure::Cancelled,
        AgentError::Unreachable { .. } => Failure::AgentUnreachable,
        AgentError::Failed { .. } | AgentError::Refused { .. } => Failure::AgentFailed,
    };
    let text = match error {
        AgentError::Failed { why, .. } | AgentError::Unreachable { why, .. } => why.clone(),
        other => other.to_string(),
    };
    (failure, text)
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text")
}
