//! What the official SDK does to JSON, undone.
//!
//! Data parts pass through protobuf's `Value`, whose only number is a double: 42 comes out as 42.0,
//! an integer of 2^53 or more loses digits, and its decoder refuses deep nesting. So integers are
//! restored on receipt, and what could not arrive whole is refused before it is sent.

use incident::digest::Digest;
use serde_json::{Number, Value};

/// The first integer that a double cannot tell from its neighbours.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Levels of arrays and objects that a data part may have. Each costs the protobuf decoder up to
/// three of its hundred levels.
const DEPTH_MAX: usize = 28;

/// Turns integral floats back into integers, everywhere in `value`. A float field reads an integer
/// just as well.
pub(crate) fn restore(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(restore_number(number)),
        Value::Array(items) => items.into_iter().map(restore).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, restore(v))).collect(),
        other => other,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "below 2^53 every integral double is an i64"
)]
fn restore_number(number: Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            Number::from(float as i64)
        }
        _ => number,
    }
}

/// Why `value` would not arrive as it is; names the place.
pub(crate) fn unfit(value: &Value) -> Option<String> {
    find_unfit(value, &mut Vec::new())
}

fn find_unfit(value: &Value, path: &mut Vec<String>) -> Option<String> {
    let place = |path: &[String]| format!("/{}", path.join("/"));
    match value {
        Value::Number(number) if !number.is_f64() && !is_exact(number) => Some(format!(
            "{} is {number}, beyond the integers that survive A2A (2^53); send it as a string",
            place(path)
        )),
        Value::Array(_) | Value::Object(_) if path.len() >= DEPTH_MAX => Some(format!(
            "{} is nested deeper than {DEPTH_MAX} levels; flatten it",
            place(path)
        )),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            path.push(index.to_string());
            let found = find_unfit(item, path);
            path.pop();
            found
        }),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            path.push(key.clone());
            let found = find_unfit(item, path);
            path.pop();
            found
        }),
        _ => None,
    }
}

fn is_exact(number: &Number) -> bool {
    const LIMIT: u64 = 1 << 53;
    number
        .as_i64()
        .map(i64::unsigned_abs)
        .or_else(|| number.as_u64())
        .is_some_and(|magnitude| magnitude < LIMIT)
}

/// The digest of a skill, a context and an input, the same for every order of members. Call it on
/// restored values only.
pub(crate) fn payload_digest(skill: &str, context: Option<&str>, input: &Value) -> Digest {
    let mut text = String::new();
    write_canonical(input, &mut text);
    let context = context.map_or_else(|| "-".to_owned(), |context| format!("+{context}"));
    Digest::of_fields("a2a/payload/1", [skill, context.as_str(), text.as_str()])
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, item) in members {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(item, out);
                out.push(',');
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_come_back() {
        let sent = json!({"a": [42.0, -7.0, 0.5, -0.0], "b": {"c": 9_007_199_254_740_992.0_f64}});
        let expect = json!({"a": [42, -7, 0.5, 0], "b": {"c": 9_007_199_254_740_992.0_f64}});
        assert_eq!(restore(sent), expect);
        assert_eq!(
            restore(json!(9_007_199_254_740_991.0_f64)),
            json!(9_007_199_254_740_991_i64)
        );
    }

    fn check_unfit(value: &Value, expect: Option<&str>) {
        assert_eq!(unfit(value).as_deref(), expect);
    }

    #[test]
    fn what_would_not_arrive_is_named() {
        check_unfit(&json!({"a": [1, -2, 0.5, 1e300, "x", null]}), None);
        check_unfit(&json!(9_007_199_254_740_991_u64), None);
        check_unfit(
            &json!({"ids": [1, 9_007_199_254_740_992_u64]}),
            Some(
                "/ids/1 is 9007199254740992, beyond the integers that survive A2A (2^53); send it as a string",
            ),
        );
        check_unfit(
            &json!(i64::MIN),
            Some(
                "/ is -9223372036854775808, beyond the integers that survive A2A (2^53); send it as a string",
            ),
        );
        let deep = (0..29).fold(json!(1), |inner, _| json!([inner]));
        assert!(unfit(&deep).is_some_and(|why| why.contains("deeper than 28 levels")));
    }

    #[test]
    fn the_digest_ignores_the_order_of_members_and_nothing_else() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#).unwrap();
        let same: Value = serde_json::from_str(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#).unwrap();
        let digest = |v: &Value| payload_digest("s/1", None, v);
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(
            digest(&one),
            digest(&json!({"a":1,"b":{"c":[2,1],"d":null}}))
        );
        assert_ne!(digest(&one), payload_digest("s/2", None, &one));
        assert_ne!(digest(&one), payload_digest("s/1", Some(""), &one));
    }
}
