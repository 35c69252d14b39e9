//! A structural schema of Kubernetes against a manifest: just the words that KEDA's schemas use.
//! A word it does not know is a problem too, so that nothing is passed over in silence.

use serde_json::Value;

/// Words that say nothing about what is allowed here. The one rule of `x-kubernetes-validations`
/// (minimum not above maximum) is a fact of its own in `keda`.
const REMARKS: [&str; 6] = [
    "description",
    "default",
    "format",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];

/// Everything that is wrong with `value`, a whole object with its metadata.
pub(super) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut value = value.clone();
    // The server checks metadata itself; the schema only says that it is an object.
    let metadata = value.as_object_mut().and_then(|o| o.remove("metadata"));
    let named = metadata.as_ref().is_some_and(|m| m["name"].is_string());
    if !named {
        found.push("metadata.name: missing".to_owned());
    }
    check(schema, &value, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(words) = schema.as_object() else {
        found.push(format!("{at}: the schema is {schema}"));
        return;
    };
    let int_or_string = schema["x-kubernetes-int-or-string"] == true;
    for (word, said) in words {
        let fine = match word.as_str() {
            "type" => is_type(said, value),
            "enum" => said.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.as_f64() >= said.as_f64(),
            "minLength" => value.as_str().map(|text| text.chars().count() as u64) >= said.as_u64(),
            "minItems" => value.as_array().map(|list| list.len() as u64) >= said.as_u64(),
            "anyOf" => {
                let all = said.as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().any(|one| {
                    let mut inner = Vec::new();
                    check(one, value, at, &mut inner);
                    inner.is_empty()
                })
            }
            "x-kubernetes-int-or-string" => !int_or_string || value.is_i64() || value.is_string(),
            "required" => {
                missing(said, value, at, found);
                true
            }
            "items" => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                for (i, item) in items.iter().enumerate() {
                    check(said, item, &format!("{at}[{i}]"), found);
                }
                true
            }
            "properties" | "additionalProperties" | "x-kubernetes-preserve-unknown-fields" => true,
            word if REMARKS.contains(&word) => true,
            other => {
                found.push(format!("{at}: cannot check {other}"));
                true
            }
        };
        if !fine {
            found.push(format!("{at}: {value} against {word} {said}"));
        }
    }
    fields(schema, value, at, found);
}

fn missing(required: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for name in required.as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = name.as_str().unwrap_or_default();
        if value.get(name).is_none() {
            found.push(format!("{at}.{name}: missing"));
        }
    }
}

/// Every field against its own schema; one without is not kept by the server.
fn fields(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        if let Some(own) = schema["properties"].get(name) {
            check(own, field, &at, found);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], field, &at, found);
        } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
            found.push(format!("{at}: unknown field"));
        }
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}
