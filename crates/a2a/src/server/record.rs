//! A task as it is stored, and as callers see it.

use std::collections::VecDeque;

use a2a_types as sdk;
use incident::ids::{MessageId, TaskId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire;

use super::request::Asked;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Somebody works on it, or will when the message is sent again.
    Working,
    /// Done, with an output.
    Completed,
    /// A person is asked; at rest until they answer.
    InputRequired,
    /// Refused for good.
    Rejected,
    /// Called off by a caller.
    Canceled,
}

impl State {
    /// No work is going on or will.
    pub(super) fn is_at_rest(self) -> bool {
        self != Self::Working
    }

    /// Nothing can change it.
    pub(super) fn is_terminal(self) -> bool {
        !matches!(self, Self::Working | Self::InputRequired)
    }

    /// As the protocol has it.
    pub(super) fn sdk(self) -> sdk::TaskState {
        match self {
            Self::Working => sdk::TaskState::Working,
            Self::Completed => sdk::TaskState::Completed,
            Self::InputRequired => sdk::TaskState::InputRequired,
            Self::Rejected => sdk::TaskState::Rejected,
            Self::Canceled => sdk::TaskState::Canceled,
        }
    }
}

/// The process that works on a task, as long as it renews this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The instance's random name.
    pub(super) instance: String,
    /// From then on somebody else may take over.
    pub(super) until: Timestamp,
}

/// Something an agent told on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Counts from 1 over the whole task.
    pub(super) number: u64,
    /// When.
    pub(super) at: Timestamp,
    /// Where the agent stood.
    pub(super) stage: String,
    /// One printable line.
    pub(super) text: String,
}

/// A task as it is stored. The input stands under a key of its own, so that renewing a lease does
/// not write it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Derived from agent and message.
    pub(super) task: TaskId,
    /// The message that started it.
    pub(super) message: MessageId,
    /// What the message asked, as a digest.
    pub(super) digest: String,
    /// The skill asked for.
    pub(super) skill: String,
    /// The context named by the caller.
    pub(super) context: Option<String>,
    /// Where it stands.
    pub(super) state: State,
    /// Since when.
    pub(super) changed_at: Timestamp,
    /// Who works on it.
    pub(super) owner: Option<Owner>,
    /// How often it was begun.
    pub(super) attempt: u32,
    /// Whether another replica asked the owner to call it off.
    pub(super) cancel_asked: bool,
    /// The newest notes.
    pub(super) notes: VecDeque<Note>,
    /// How many notes there were.
    pub(super) noted: u64,
    /// The question, the reason of a refusal, or the last failure.
    pub(super) said: Option<String>,
    /// The output, once there is one.
    pub(super) output: Option<Value>,
}

impl Record {
    /// A task that nobody has begun.
    pub(super) fn new(asked: &Asked, now: Timestamp) -> Self {
        Self {
            task: asked.id.clone(),
            message: asked.task.message_id.clone(),
            digest: asked.digest.clone(),
            skill: asked.task.skill.clone(),
            context: asked.task.context.clone(),
            state: State::Working,
            changed_at: now,
            owner: None,
            attempt: 0,
            cancel_asked: false,
            notes: VecDeque::new(),
            noted: 0,
            said: None,
            output: None,
        }
    }

    /// Whether `instance` owns it.
    pub(super) fn is_owned_by(&self, instance: &str) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner.instance == instance)
    }

    /// Whether a process other than `instance` works on it now.
    pub(super) fn is_held_elsewhere(&self, instance: &str, now: Timestamp) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner.instance != instance && owner.until > now)
    }

    /// Adds a note and forgets the oldest beyond `max`.
    pub(super) fn note(&mut self, at: Timestamp, stage: String, text: String, max: usize) {
        self.noted += 1;
        self.notes.push_back(Note {
            number: self.noted,
            at,
            stage,
            text,
        });
        while self.notes.len() > max {
            self.notes.pop_front();
        }
    }

    /// Puts it to rest.
    pub(super) fn rest(&mut self, rest: &Rest, now: Timestamp) {
        self.state = rest.state;
        self.said.clone_from(&rest.said);
        self.output.clone_from(&rest.output);
        self.owner = None;
        self.changed_at = now;
    }

    /// The context id on the wire: the caller's, or one of our own that stays the same.
    pub(super) fn context_id(&self) -> String {
        let own = || format!("context-of-{}", self.task);
        self.context.clone().unwrap_or_else(own)
    }

    /// The task with as much of its history as asked for: none of it, the newest `n` or all.
    pub(super) fn to_task(&self, input: Option<&Value>, history: Option<usize>) -> sdk::Task {
        sdk::Task {
            id: self.task.to_string(),
            context_id: self.context_id(),
            status: self.status(),
            artifacts: self.artifact().map(|artifact| vec![artifact]),
            history: self.history(input, history),
            metadata: None,
        }
    }

    /// Where it stands, with what was said about it.
    pub(super) fn status(&self) -> sdk::TaskStatus {
        let id = format!("{}-status-{}", self.task, self.attempt);
        let message = self
            .said
            .as_ref()
            .map(|said| wire::agent_says(id, self.task.as_str(), &self.context_id(), said));
        wire::status(self.state.sdk(), message, self.changed_at)
    }

    /// The output as the one artifact.
    pub(super) fn artifact(&self) -> Option<sdk::Artifact> {
        let output = self.output.as_ref()?;
        Some(sdk::Artifact {
            artifact_id: wire::OUTPUT.to_owned(),
            name: Some(wire::OUTPUT.to_owned()),
            description: None,
            parts: vec![wire::data_part(&self.skill, output)],
            metadata: None,
            extensions: None,
        })
    }

    /// Where it stands, as an event.
    pub(super) fn status_update(&self) -> sdk::TaskStatusUpdateEvent {
        sdk::TaskStatusUpdateEvent {
            task_id: self.task.to_string(),
            context_id: self.context_id(),
            status: self.status(),
            metadata: None,
        }
    }

    /// The output, as an event.
    pub(super) fn artifact_update(&self) -> Option<sdk::TaskArtifactUpdateEvent> {
        Some(sdk::TaskArtifactUpdateEvent {
            task_id: self.task.to_string(),
            context_id: self.context_id(),
            artifact: self.artifact()?,
            append: Some(false),
            last_chunk: Some(true),
            metadata: None,
        })
    }

    /// A note as a status update.
    pub(super) fn note_update(&self, note: &Note) -> sdk::TaskStatusUpdateEvent {
        let context = self.context_id();
        let message = self.note_message(note, &context);
        let extension = json!({ "stage": note.stage, "number": note.number });
        sdk::TaskStatusUpdateEvent {
            task_id: self.task.to_string(),
            context_id: context,
            status: wire::status(sdk::TaskState::Working, Some(message), note.at),
            metadata: Some([(wire::EXTENSION.to_owned(), extension)].into()),
        }
    }

    fn note_message(&self, note: &Note, context: &str) -> sdk::Message {
        let id = format!("{}-note-{}", self.task, note.number);
        wire::agent_says(id, self.task.as_str(), context, &note.text)
    }

    fn history(&self, input: Option<&Value>, length: Option<usize>) -> Option<Vec<sdk::Message>> {
        let context = self.context_id();
        let asked = input.map(|input| sdk::Message {
            message_id: self.message.to_string(),
            context_id: Some(context.clone()),
            task_id: Some(self.task.to_string()),
            role: sdk::Role::User,
            parts: vec![wire::data_part(&self.skill, input)],
            metadata: None,
            extensions: None,
            reference_task_ids: None,
        });
        let notes = self
            .notes
            .iter()
            .map(|note| self.note_message(note, &context));
        let mut messages: Vec<_> = asked.into_iter().chain(notes).collect();
        let dropped = length.map_or(0, |length| messages.len().saturating_sub(length));
        messages.drain(..dropped);
        (!messages.is_empty()).then_some(messages)
    }
}

/// How a task comes to rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rest {
    /// Not [`State::Working`].
    pub(super) state: State,
    /// The question or the reason.
    pub(super) said: Option<String>,
    /// The output.
    pub(super) output: Option<Value>,
}
