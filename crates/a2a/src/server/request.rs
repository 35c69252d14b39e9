//! What a message must hold. The official router decodes; everything else is checked here, and
//! every refusal names the field and the remedy.

use a2a_server::ServiceParams;
use a2a_types as sdk;
use incident::Untrusted;
use incident::ids::{MessageId, TaskId};
use incident::ports::{AgentCard, AgentTask};
use jiff::Timestamp;
use serde_json::Value;

use crate::{numbers, wire};

/// Longest message or context id, in bytes.
const ID_BYTES_MAX: usize = 256;

/// A message that was found good.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What the agent is asked.
    pub(super) task: AgentTask,
    /// The task it starts or joins.
    pub(super) id: TaskId,
    /// Digest of skill, context and input.
    pub(super) digest: String,
    /// The caller's deadline.
    pub(super) deadline: Option<Timestamp>,
    /// The caller's trace, or one derived from the task.
    pub(super) trace: String,
    /// How much history the answer carries; none means all of it.
    pub(super) history: Option<usize>,
    /// Whether the caller wants the task rather than its end.
    pub(super) at_once: bool,
}

/// A task that a message names although it did not start it: follow-ups are not taken, and which
/// error says so depends on whether the task exists.
#[derive(Debug)]
pub(super) struct FollowUp(pub(super) String);

/// Why a message is not [`Asked`].
#[derive(Debug)]
pub(super) enum Refusal {
    /// For good.
    Bad(sdk::A2AError),
    /// It names another task.
    FollowUp(FollowUp),
}

impl From<sdk::A2AError> for Refusal {
    fn from(error: sdk::A2AError) -> Self {
        Self::Bad(error)
    }
}

/// -32602, with the field and what to do about it.
pub(super) fn bad_field(field: &str, why: &str) -> sdk::A2AError {
    let violation = sdk::FieldViolation {
        field: field.to_owned(),
        description: why.to_owned(),
    };
    sdk::A2AError::invalid_params(format!("{field}: {why}"))
        .with_details(vec![sdk::TypedDetail::bad_request(vec![violation])])
}

fn bad_content(field: &str, why: &str) -> sdk::A2AError {
    let code = sdk::error_code::CONTENT_TYPE_NOT_SUPPORTED;
    sdk::A2AError::new(code, format!("{field}: {why}"))
}

/// Checks a message for the agent of `card`.
pub(super) fn read(
    card: &AgentCard,
    params: &ServiceParams,
    request: sdk::SendMessageRequest,
) -> Result<Asked, Refusal> {
    no_tenant(request.tenant.as_deref())?;
    let configuration = request
        .configuration
        .unwrap_or(sdk::SendMessageConfiguration {
            accepted_output_modes: None,
            task_push_notification_config: None,
            history_length: None,
            return_immediately: None,
        });
    if configuration.task_push_notification_config.is_some() {
        return Err(sdk::A2AError::push_notification_not_supported().into());
    }
    accepts_json(configuration.accepted_output_modes.as_deref())?;
    let history = history_length("configuration.historyLength", configuration.history_length)?;
    let mut message = request.message;
    if message.message_id.is_empty() {
        let why = "is missing; send an id that is the same whenever this message is sent again";
        return Err(bad_field("message.messageId", why).into());
    }
    bounded("message.messageId", &message.message_id)?;
    bounded(
        "message.contextId",
        message.context_id.as_deref().unwrap_or_default(),
    )?;
    match message.role {
        sdk::Role::User => {}
        sdk::Role::Unspecified => {
            return Err(bad_field("message.role", "is missing; send ROLE_USER").into());
        }
        sdk::Role::Agent => {
            let why = "is ROLE_AGENT; callers send ROLE_USER";
            return Err(bad_field("message.role", why).into());
        }
    }
    let (skill, body) = read_parts(card, std::mem::take(&mut message.parts))?;
    let carried = message.metadata.as_ref();
    let carried = carried.and_then(|metadata| metadata.get(wire::EXTENSION));
    let of_request = request.metadata.as_ref();
    let of_request = of_request.and_then(|metadata| metadata.get(wire::EXTENSION));
    let deadline = deadline(&[carried, of_request])?;
    let message_id = MessageId::from_stored(message.message_id.clone());
    let id = TaskId::derive(&card.name, &message_id);
    if let Some(named) = message
        .task_id
        .as_deref()
        .filter(|named| *named != id.as_str())
    {
        return Err(Refusal::FollowUp(FollowUp(named.to_owned())));
    }
    let trace = trace(params, carried.or(of_request), &id);
    // A caller that sends again may name the context we made up when it named none.
    let own = format!("context-of-{id}");
    let context = message.context_id.filter(|context| *context != own);
    let digest = numbers::payload_digest(&skill, context.as_deref(), &body).to_string();
    let at_once = configuration.return_immediately == Some(true);
    let task = AgentTask {
        message_id,
        context,
        skill,
        input: body,
    };
    Ok(Asked {
        task,
        id,
        digest,
        deadline,
        trace,
        history,
        at_once,
    })
}

/// Our cards name no tenant.
pub(super) fn no_tenant(tenant: Option<&str>) -> Result<(), sdk::A2AError> {
    match tenant {
        None => Ok(()),
        Some(_) => Err(bad_field(
            "tenant",
            "is not known; leave it out, the card names none",
        )),
    }
}

/// A history length: nothing means all.
pub(super) fn history_length(
    field: &str,
    length: Option<i32>,
) -> Result<Option<usize>, sdk::A2AError> {
    let length = length.map(usize::try_from).transpose();
    length.map_err(|_| {
        bad_field(
            field,
            "is negative; send 0 for none or leave it out for all",
        )
    })
}

fn bounded(field: &str, text: &str) -> Result<(), sdk::A2AError> {
    if text.len() <= ID_BYTES_MAX && !text.contains(char::is_control) {
        return Ok(());
    }
    let why =
        format!("is longer than {ID_BYTES_MAX} bytes or holds control characters; shorten it");
    Err(bad_field(field, &why))
}

fn accepts_json(modes: Option<&[String]>) -> Result<(), sdk::A2AError> {
    let fits = |mode: &String| matches!(mode.as_str(), wire::JSON | "application/*" | "*/*");
    match modes {
        Some(modes) if !modes.is_empty() && !modes.iter().any(fits) => Err(bad_content(
            "configuration.acceptedOutputModes",
            "leaves out application/json, the only output there is; add it",
        )),
        _ => Ok(()),
    }
}

fn read_parts(card: &AgentCard, parts: Vec<sdk::Part>) -> Result<(String, Value), sdk::A2AError> {
    const SHAPE: &str = r#"send exactly one data part {"schema": "<skill id>", "body": {...}}"#;
    let count = parts.len();
    let mut parts = parts.into_iter();
    let (Some(part), None) = (parts.next(), parts.next()) else {
        let why = format!("holds {count} parts; {SHAPE}");
        return Err(bad_field("message.parts", &why));
    };
    let media_type = part.media_type.as_deref().unwrap_or(wire::JSON);
    if media_type != wire::JSON {
        let found = Untrusted::from(media_type).one_line(80);
        let why = format!("is {found:?}; send application/json");
        return Err(bad_content("message.parts[0].mediaType", &why));
    }
    let sdk::PartContent::Data(data) = part.content else {
        let why = format!("is not a data part; {SHAPE}");
        return Err(bad_content("message.parts[0]", &why));
    };
    let Value::Object(mut data) = data else {
        let why = format!("is not an object; {SHAPE}");
        return Err(bad_field("message.parts[0].data", &why));
    };
    let known = || {
        card.skills
            .iter()
            .map(|skill| skill.id.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(Value::String(schema)) = data.remove("schema") else {
        let why = format!("is missing or no string; send one of {}", known());
        return Err(bad_field("message.parts[0].data.schema", &why));
    };
    if !card.skills.iter().any(|skill| skill.id == schema) {
        let found = Untrusted::from(schema).one_line(80);
        let why = format!(
            "{found:?} is no skill of {}; send one of {}",
            card.name,
            known()
        );
        return Err(bad_content("message.parts[0].data.schema", &why));
    }
    let Some(body) = data.remove("body") else {
        let why = "is missing; send the skill's input";
        return Err(bad_field("message.parts[0].data.body", why));
    };
    Ok((schema, numbers::restore(body)))
}

type Extension<'a> = Option<&'a Value>;

fn deadline(found: &[Extension<'_>]) -> Result<Option<Timestamp>, sdk::A2AError> {
    let mut found = found.iter().flatten();
    let Some(value) = found.find_map(|extension| extension.get("deadline")) else {
        return Ok(None);
    };
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    let field = format!("message.metadata[{:?}].deadline", wire::EXTENSION);
    parsed.map(Some).ok_or_else(|| {
        bad_field(
            &field,
            "is no time; send RFC 3339 such as 2026-11-20T10:00:00Z",
        )
    })
}

fn trace(params: &ServiceParams, carried: Extension<'_>, id: &TaskId) -> String {
    let carried = carried
        .and_then(|extension| extension.get("traceparent"))
        .and_then(Value::as_str);
    let header = params
        .get("traceparent")
        .and_then(|values| values.first())
        .map(String::as_str);
    let made = || {
        incident::digest::Digest::of(id.as_str().as_bytes())
            .short(32)
            .to_owned()
    };
    let found = carried.or(header).and_then(wire::trace_of);
    found.map_or_else(made, str::to_owned)
}
