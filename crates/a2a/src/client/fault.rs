//! What an answer, or its absence, means to the caller of a remote agent.

use std::fmt;
use std::time::Duration;

use a2a_types as sdk;
use incident::Untrusted;
use incident::error::{Classify, Code, Kind};
use incident::ports::{AgentError, Outcome};
use sdk::error_code;
use serde_json::Value;

use crate::failure::Failure;
use crate::wire;

/// A call without a result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The same message may do better when it is sent again.
    Again(AgentError),
    /// The caller has to know.
    Settled(AgentError),
}

impl Fault {
    /// What the caller is told.
    pub(super) fn into_error(self) -> AgentError {
        match self {
            Self::Again(error) | Self::Settled(error) => error,
        }
    }

    fn error(&self) -> &AgentError {
        match self {
            Self::Again(error) | Self::Settled(error) => error,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl std::error::Error for Fault {}

impl Classify for Fault {
    fn kind(&self) -> Kind {
        match self {
            Self::Again(_) => Kind::Transient,
            Self::Settled(_) => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        self.error().code()
    }
}

/// Judges what comes from one agent.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    agent: String,
}

impl Judge {
    pub(super) fn new(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
        }
    }

    /// Whether the other side sent this error. The SDK reports what went wrong on its own side of
    /// the connection (no connection, no JSON) with the same type, always as -32603 without details.
    pub(super) fn is_from_peer(error: &sdk::A2AError) -> bool {
        error.code != error_code::INTERNAL_ERROR || error.details.is_some()
    }

    /// A JSON-RPC error.
    pub(super) fn of(&self, error: &sdk::A2AError) -> Fault {
        let why = one_line(&plain_text(error));
        if !Self::is_from_peer(error) {
            return self.broken(&why);
        }
        let agent = self.agent.clone();
        if let Some(failure) = Failure::of(error) {
            return match failure {
                Failure::AgentFailed | Failure::AgentPanicked | Failure::AgentUnreachable => {
                    Fault::Settled(AgentError::Failed { agent, why })
                }
                Failure::Unauthenticated => Fault::Settled(AgentError::Unreachable { agent, why }),
                Failure::Deadline => Fault::Again(AgentError::Deadline { agent }),
                Failure::Cancelled => Fault::Again(AgentError::Cancelled { agent }),
                Failure::Interrupted
                | Failure::Overloaded
                | Failure::LeaseLost
                | Failure::Store => Fault::Again(AgentError::Unreachable { agent, why }),
            };
        }
        match error.code {
            error_code::PARSE_ERROR
            | error_code::INVALID_REQUEST
            | error_code::INVALID_PARAMS
            | error_code::CONTENT_TYPE_NOT_SUPPORTED => {
                Fault::Settled(AgentError::Refused { agent, why })
            }
            error_code::METHOD_NOT_FOUND
            | error_code::UNSUPPORTED_OPERATION
            | error_code::EXTENSION_SUPPORT_REQUIRED
            | error_code::VERSION_NOT_SUPPORTED => {
                let why = format!("it does not speak our A2A: {why}");
                Fault::Settled(AgentError::Unreachable { agent, why })
            }
            _ => Fault::Settled(AgentError::Failed { agent, why }),
        }
    }

    /// An HTTP answer that is not JSON-RPC. A proxy that has lost its server comes back; an address
    /// or a credential that is wrong stays wrong.
    pub(super) fn http(&self, status: u16, what: &str, body: &str) -> Fault {
        let said = one_line(body);
        let why = match said.as_str() {
            "" => format!("{what} answered HTTP {status}"),
            said => format!("{what} answered HTTP {status}: {said}"),
        };
        let agent = self.agent.clone();
        match status {
            413 | 422 => Fault::Settled(AgentError::Refused { agent, why }),
            408 | 425 | 429 | 500..=599 => Fault::Again(AgentError::Unreachable { agent, why }),
            _ => Fault::Settled(AgentError::Unreachable { agent, why }),
        }
    }

    /// The connection did not hold.
    pub(super) fn broken(&self, why: &str) -> Fault {
        Fault::Again(self.unreachable(why.to_owned()))
    }

    /// Nothing was heard for too long.
    pub(super) fn silent(&self, span: Duration) -> Fault {
        self.broken(&format!("nothing was heard for {} s", span.as_secs()))
    }

    /// The agent is set up in a way that we cannot call it.
    pub(super) fn misfit(&self, why: String) -> Fault {
        Fault::Settled(self.unreachable(why))
    }

    /// It answered with a message, which our agents never do.
    pub(super) fn no_task(&self) -> Fault {
        let why = "it answered with a message and not with a task".to_owned();
        Fault::Settled(AgentError::Failed {
            agent: self.agent.clone(),
            why,
        })
    }

    /// What a task's status means; nothing while it goes on.
    pub(super) fn end(
        &self,
        status: &sdk::TaskStatus,
        output: &mut Option<Value>,
    ) -> Option<Result<Outcome, Fault>> {
        let agent = self.agent.clone();
        let said = wire::text_of(status.message.as_ref());
        let settled = |error| Some(Err(Fault::Settled(error)));
        match status.state {
            sdk::TaskState::Unspecified | sdk::TaskState::Submitted | sdk::TaskState::Working => {
                None
            }
            sdk::TaskState::Completed => Some(
                self.output(output)
                    .map(|output| Outcome::Completed { output }),
            ),
            sdk::TaskState::InputRequired => {
                Some(self.output(output).map(|output| Outcome::InputRequired {
                    question: said,
                    output,
                }))
            }
            sdk::TaskState::Rejected => settled(AgentError::Refused { agent, why: said }),
            sdk::TaskState::Canceled => settled(AgentError::Cancelled { agent }),
            sdk::TaskState::Failed => settled(AgentError::Failed { agent, why: said }),
            sdk::TaskState::AuthRequired => {
                let why = format!("it asks for an authorisation we do not have: {said}");
                settled(AgentError::Failed { agent, why })
            }
        }
    }

    fn output(&self, output: &mut Option<Value>) -> Result<Value, Fault> {
        output.take().ok_or_else(|| {
            let why = "it ended the task without an output".to_owned();
            Fault::Settled(AgentError::Failed {
                agent: self.agent.clone(),
                why,
            })
        })
    }

    fn unreachable(&self, why: String) -> AgentError {
        AgentError::Unreachable {
            agent: self.agent.clone(),
            why,
        }
    }

    pub(super) fn refused(&self, why: String) -> AgentError {
        AgentError::Refused {
            agent: self.agent.clone(),
            why,
        }
    }

    pub(super) fn deadline(&self) -> AgentError {
        AgentError::Deadline {
            agent: self.agent.clone(),
        }
    }

    pub(super) fn cancelled(&self) -> AgentError {
        AgentError::Cancelled {
            agent: self.agent.clone(),
        }
    }
}

/// The message as the other side wrote it: the SDK appends every field violation to it, which our
/// servers have said in the message already.
fn plain_text(error: &sdk::A2AError) -> String {
    let violations = error
        .details
        .iter()
        .flatten()
        .filter_map(|detail| detail.value.get("fieldViolations")?.as_array());
    let told: Vec<String> = violations
        .flatten()
        .filter_map(|violation| {
            let field = violation.get("field")?.as_str()?;
            let description = violation.get("description")?.as_str()?;
            Some(format!("{field}: {description}"))
        })
        .collect();
    let appended = format!(": {}", told.join("; "));
    match error.message.strip_suffix(&appended) {
        Some(message) if told.iter().all(|told| message.contains(told.as_str())) => {
            message.to_owned()
        }
        _ => error.message.clone(),
    }
}

pub(super) fn one_line(text: &str) -> String {
    Untrusted::from(text).one_line(wire::TEXT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str) -> String {
        let fault = Judge::new("git-agent").http(status, "POST", body);
        format!("{:?} {fault}", fault.kind())
    }

    #[test]
    fn http_without_json_rpc() {
        insta::assert_snapshot!(check(502, "<html>\n<h1>Bad Gateway</h1>"), @"Transient git-agent cannot be reached: POST answered HTTP 502: <html> <h1>Bad Gateway</h1>");
        insta::assert_snapshot!(check(400, "A2A-Version header is required"), @"Permanent git-agent cannot be reached: POST answered HTTP 400: A2A-Version header is required");
        insta::assert_snapshot!(check(404, ""), @"Permanent git-agent cannot be reached: POST answered HTTP 404");
        insta::assert_snapshot!(check(413, "too large"), @"Permanent git-agent refused the task: POST answered HTTP 413: too large");
    }

    fn check_code(code: i32) -> String {
        let error = sdk::A2AError::new(code, "why").with_details(Vec::new());
        let fault = Judge::new("git-agent").of(&error);
        format!("{:?} {fault}", fault.kind())
    }

    #[test]
    fn json_rpc_codes_of_strangers() {
        insta::assert_snapshot!(check_code(error_code::INVALID_PARAMS), @"Permanent git-agent refused the task: why");
        insta::assert_snapshot!(check_code(error_code::VERSION_NOT_SUPPORTED), @"Permanent git-agent cannot be reached: it does not speak our A2A: why");
        insta::assert_snapshot!(check_code(error_code::INTERNAL_ERROR), @"Permanent git-agent failed: why");
        insta::assert_snapshot!(check_code(error_code::TASK_NOT_FOUND), @"Permanent git-agent failed: why");
    }
}
