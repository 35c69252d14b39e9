//! The shape of our messages inside A2A, in one place for both sides.
//!
//! Input and output are one data part each, `{"schema": "<skill id>", "body": ...}`. What A2A has
//! no member for (deadline, trace, progress) travels as one declared extension in `metadata`.

use a2a_types as sdk;
use incident::Untrusted;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::numbers;

/// The one extension we declare: deadline and trace of a request, stage and number of a note.
pub(crate) const EXTENSION: &str = "urn:nightshift:a2a:context:1";
/// The version header, as `http` writes it.
pub(crate) const VERSION_HEADER: &str = "a2a-version";
/// The extension header.
pub(crate) const EXTENSIONS_HEADER: &str = "a2a-extensions";
/// The protocol version we speak, and the only one.
pub(crate) const VERSION: &str = sdk::VERSION;
/// The media type of our parts.
pub(crate) const JSON: &str = "application/json";
/// The one artifact of a task; stable, so that it overwrites itself when delivered again.
pub(crate) const OUTPUT: &str = "output";
/// The key in the metadata of an `ErrorInfo` that says why an execution failed. The official
/// router sets the `reason` of every `ErrorInfo` from the JSON-RPC code, so it cannot stand there.
pub(crate) const FAILURE: &str = "failure";
/// Longest text that is taken over from another system, in characters.
pub(crate) const TEXT_CHARS_MAX: usize = 300;

/// The path of an agent.
pub(crate) fn agent_path(name: &str) -> String {
    format!("/agents/{name}/")
}

/// The one data part of an input or an output.
pub(crate) fn data_part(schema: &str, body: &Value) -> sdk::Part {
    sdk::Part::data(json!({ "schema": schema, "body": body })).with_media_type(JSON)
}

/// The body of the first data part of an artifact, with its integers restored.
pub(crate) fn body_of(artifact: sdk::Artifact) -> Option<Value> {
    artifact
        .parts
        .into_iter()
        .find_map(|part| match part.content {
            sdk::PartContent::Data(Value::Object(mut data)) => {
                data.remove("body").map(numbers::restore)
            }
            _ => None,
        })
}

/// What a person reads of a message, one printable line.
pub(crate) fn text_of(message: Option<&sdk::Message>) -> String {
    let text = message.and_then(sdk::Message::text).unwrap_or_default();
    Untrusted::from(text).one_line(TEXT_CHARS_MAX)
}

/// A message of an agent that says `text`.
pub(crate) fn agent_says(id: String, task: &str, context: &str, text: &str) -> sdk::Message {
    sdk::Message {
        message_id: id,
        context_id: Some(context.to_owned()),
        task_id: Some(task.to_owned()),
        role: sdk::Role::Agent,
        parts: vec![sdk::Part::text(text).with_media_type("text/plain")],
        metadata: None,
        extensions: None,
        reference_task_ids: None,
    }
}

/// A value of `time` that the SDK takes: UTC, milliseconds.
pub(crate) fn status(
    state: sdk::TaskState,
    message: Option<sdk::Message>,
    time: Timestamp,
) -> sdk::TaskStatus {
    sdk::TaskStatus {
        state,
        message,
        timestamp: format!("{time:.3}").parse().ok(),
    }
}

/// The trace id of a W3C `traceparent`, or nothing if it is not one.
pub(crate) fn trace_of(traceparent: &str) -> Option<&str> {
    let mut fields = traceparent.trim().split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let known = version.len() == 2 && version != "ff";
    (known && is_trace(trace)).then_some(trace)
}

/// A `traceparent` for a call in trace `trace`, or nothing if that is no W3C trace id.
pub(crate) fn traceparent(trace: &str, span: &str) -> Option<String> {
    is_trace(trace).then(|| format!("00-{trace}-{span}-01"))
}

fn is_trace(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_w3c_trace_ids_pass() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let header = traceparent(trace, "b7ad6b7169203331").unwrap();
        assert_eq!(trace_of(&header), Some(trace));
        assert_eq!(
            trace_of("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
            None
        );
        assert_eq!(
            trace_of("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            None
        );
        assert_eq!(trace_of("nonsense"), None);
        assert_eq!(traceparent("sim-7", "b7ad6b7169203331"), None);
    }
}
