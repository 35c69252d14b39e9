//! What becomes of an entry after its task: the one place where the outcome of a task is judged.

use std::time::Duration;

use incident::error::{Classify, Kind};
use incident::ports::{AgentError, Cause, Entropy, Outcome};
use runtime::Policy;

use crate::error::cause;

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Done,
    /// A person is waited for; their decision is a piece of work of its own.
    Parked,
    /// It may succeed later.
    Later { kind: Kind, cause: Cause },
    /// It will never succeed.
    Never { cause: Cause },
}

/// Judges the outcome of a task.
pub(crate) fn judge(result: &Result<Outcome, AgentError>) -> Verdict {
    match result {
        Ok(Outcome::Completed { .. }) => Verdict::Done,
        Ok(Outcome::InputRequired { .. }) => Verdict::Parked,
        Err(error) => judge_error(error),
    }
}

/// Judges an error. Work that was called off by somebody else (a newer holder of the incident) is
/// tried again: the holder may be gone by then, and if it is done the task says so.
pub(crate) fn judge_error(error: &impl Classify) -> Verdict {
    match error.kind() {
        Kind::Permanent => Verdict::Never {
            cause: cause(error),
        },
        kind @ (Kind::Transient | Kind::Overloaded { .. } | Kind::Cancelled | Kind::Exhausted) => {
            Verdict::Later {
                kind,
                cause: cause(error),
            }
        }
    }
}

/// The wait before the next delivery of an entry that failed in delivery number `attempt`. It depends
/// on the class of the failure: who is busy gets more time than who failed, and what took all the
/// time there was is not likely to go faster soon.
pub(crate) fn delay(policy: Policy, attempt: u32, kind: Kind, entropy: &dyn Entropy) -> Duration {
    let further = match kind {
        Kind::Overloaded { retry_after: None } => 1,
        Kind::Exhausted => 2,
        Kind::Transient | Kind::Overloaded { .. } | Kind::Cancelled | Kind::Permanent => 0,
    };
    policy.wait_after(attempt.saturating_add(further), kind, entropy)
}
