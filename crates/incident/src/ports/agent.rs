//! The Agent port.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cx::Cx;
use crate::error::{Classify, Code, Kind};
use crate::ids::MessageId;

/// One thing an agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Stable id; also the name of the input's schema, such as `triage/1`.
    pub id: String,
    /// For people.
    pub name: String,
    /// One sentence.
    pub description: String,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCard {
    /// Stable name, such as `triage-agent`.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// What it can do; never empty.
    pub skills: Vec<Skill>,
}

/// What an agent is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    /// Derived from content: the same message twice is the same task.
    pub message_id: MessageId,
    /// The incident or batch it belongs to; becomes the A2A context id. None if it stands alone.
    pub context: Option<String>,
    /// The skill asked for, such as `triage/1`.
    pub skill: String,
    /// The skill's input.
    pub input: Value,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done; the skill's output.
    Completed {
        /// The skill's output.
        output: Value,
    },
    /// A person is asked; the task is at rest until they answer (A2A `input-required`).
    InputRequired {
        /// The question, one printable line.
        question: String,
        /// The skill's output so far.
        output: Value,
    },
}

/// Why a task did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The agent refuses this input for good (A2A `rejected`, JSON-RPC invalid params).
    #[error("{agent} refused the task: {why}")]
    Refused {
        /// Which agent.
        agent: String,
        /// Why, with the remedy.
        why: String,
    },
    /// It failed on the way and may succeed later.
    #[error("{agent} failed: {why}")]
    Failed {
        /// Which agent.
        agent: String,
        /// What happened.
        why: String,
    },
    /// It cannot be reached.
    #[error("{agent} cannot be reached: {why}")]
    Unreachable {
        /// Which agent.
        agent: String,
        /// What happened.
        why: String,
    },
    /// The deadline passed first.
    #[error("{agent} did not answer by the deadline")]
    Deadline {
        /// Which agent.
        agent: String,
    },
    /// The work was called off.
    #[error("the task at {agent} was cancelled")]
    Cancelled {
        /// Which agent.
        agent: String,
    },
}

impl Classify for AgentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } => Kind::Permanent,
            Self::Failed { .. } | Self::Unreachable { .. } => Kind::Transient,
            Self::Deadline { .. } => Kind::Exhausted,
            Self::Cancelled { .. } => Kind::Cancelled,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Refused { .. } => Code("E-AGENT-001"),
            Self::Failed { .. } => Code("E-AGENT-002"),
            Self::Unreachable { .. } => Code("E-AGENT-003"),
            Self::Deadline { .. } => Code("E-AGENT-004"),
            Self::Cancelled { .. } => Code("E-AGENT-005"),
        }
    }
}

/// An agent, in this process or behind A2A.
///
/// Contract:
/// - The same message id twice is the same task: the second call joins or returns the first's
///   outcome and does nothing twice. The same id with another input is refused.
/// - It answers within 1 s of the end of its `cx` (deadline or cancellation).
/// - Input it cannot read is [`AgentError::Refused`], never a panic.
#[async_trait]
pub trait Agent: Send + Sync + fmt::Debug {
    /// What it says of itself.
    fn card(&self) -> &AgentCard;
    /// Does one task.
    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError>;
}
