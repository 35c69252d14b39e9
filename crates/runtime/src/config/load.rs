//! Reading the file and the environment into one checked value.
//!
//! Every problem is found in one go: after each one the offending value is taken out, so that its
//! default stands in, and reading starts again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{Problem, Section};

/// Prefix of overlay variables; `__` separates the parts of a path.
const PREFIX: &str = "NIGHTSHIFT__";
/// Most problems that are looked for in one go.
const PROBLEMS_MAX: usize = 64;

/// Where environment variables come from.
pub trait Env: Send + Sync + std::fmt::Debug {
    /// One variable.
    fn get(&self, name: &str) -> Option<String>;
    /// All variables whose name starts with `prefix`, by name.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String>;
}

/// The environment of this process. Only the binary makes one.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        // `vars` would panic on a variable that is not UTF-8, whoever set it and whatever for.
        std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let ours = name.starts_with(prefix);
                ours.then(|| (name, value.to_string_lossy().into_owned()))
            })
            .collect()
    }
}

/// An environment made of a map, for tests.
#[derive(Debug, Clone, Default)]
pub struct MapEnv(pub BTreeMap<String, String>);

impl Env for MapEnv {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let matching = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        matching
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// A configuration file: its name for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// For messages.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// Reads defaults, then `file`, then `NIGHTSHIFT__...` variables of `env`.
///
/// # Errors
/// Every problem found, each with its place, in order of place.
pub fn load<T>(file: Option<Source<'_>>, env: &dyn Env) -> Result<T, Vec<Problem>>
where
    T: DeserializeOwned + Serialize + JsonSchema + Default + Section,
{
    load_and(file, env, |_, _| {})
}

/// [`load`], with a check of the caller's own besides: of files that are named, say. Its problems get
/// their place like all others.
///
/// # Errors
/// Every problem found, each with its place.
pub fn load_and<T>(
    file: Option<Source<'_>>,
    env: &dyn Env,
    also: impl FnOnce(&T, &mut Vec<Problem>),
) -> Result<T, Vec<Problem>>
where
    T: DeserializeOwned + Serialize + JsonSchema + Default + Section,
{
    let mut document = Document::default();
    let mut problems = Vec::new();
    if let Some(file) = file {
        document.read_file(file, &mut problems);
    }
    if !problems.is_empty() {
        // What a broken file means is a guess; guesses would only bury the real problem.
        return Err(problems);
    }
    document.read_env::<T>(env);
    let value: Option<T> = document.decode(&mut problems);
    if let Some(value) = &value {
        let mut found = Vec::new();
        value.check("", &mut found);
        also(value, &mut found);
        problems.extend(found.into_iter().map(|problem| document.locate(problem)));
    }
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => {
            problems.dedup();
            Err(problems)
        }
    }
}

/// The merged values and where each came from.
#[derive(Debug, Default)]
struct Document {
    values: Map<String, Value>,
    places: BTreeMap<String, String>,
}

impl Document {
    fn read_file(&mut self, file: Source<'_>, problems: &mut Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(file.text);
        for error in errors {
            let line = error
                .span()
                .map_or(1, |span| line_of(file.text, span.start));
            let mut problem = Problem::new(
                "",
                error.message().to_owned(),
                "Correct the TOML; strings need quotes, tables start with [name].",
            );
            problem.place = Some(format!("{}:{line}", file.name));
            problems.push(problem);
        }
        let mut reader = Reader {
            file,
            places: &mut self.places,
        };
        self.values = reader.table(table.get_ref(), "");
    }

    /// Lays `NIGHTSHIFT__HOOK__LISTEN=...` over `hook.listen`. Text stays text where the schema
    /// wants text; anything else is read as a TOML value.
    fn read_env<T: JsonSchema>(&mut self, env: &dyn Env) {
        let schema = Value::from(schemars::schema_for!(T));
        for (name, text) in env.with_prefix(PREFIX) {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            let value = if wants_text(&schema, &path) {
                Value::String(text)
            } else {
                toml_value(text)
            };
            self.places
                .insert(path.join("."), format!("environment variable {name}"));
            set(&mut self.values, &path, value);
        }
    }

    fn decode<T: DeserializeOwned>(&mut self, problems: &mut Vec<Problem>) -> Option<T> {
        for _ in 0..PROBLEMS_MAX {
            let document = Value::Object(self.values.clone());
            let error = match serde_path_to_error::deserialize(document) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let message = error.inner().to_string();
            let (what, remedy) = explain(&path, &message, text_at(&self.values, &path));
            if !follows_from(problems, &path, &message) {
                problems.push(self.locate(Problem::new(path.clone(), what, remedy)));
            }
            if !remove(&mut self.values, &path) {
                return None;
            }
            self.shift_places(&path);
        }
        None
    }

    /// After item `i` of an array was taken out, item `i + 1` stands in its place.
    fn shift_places(&mut self, path: &str) {
        let Some((array, index)) = path.strip_suffix(']').and_then(|p| p.rsplit_once('[')) else {
            return;
        };
        let Ok(index) = index.parse::<usize>() else {
            return;
        };
        let array = array.replace('[', ".").replace(']', "");
        let last = (index..self.places.len())
            .find(|i| !self.places.contains_key(&format!("{array}.{i}")))
            .unwrap_or(index);
        for i in index..last {
            let (from, to) = (format!("{array}.{}", i + 1), format!("{array}.{i}"));
            self.places
                .retain(|path, _| path != &to && !path.starts_with(&format!("{to}.")));
            let moved: Vec<_> = self
                .places
                .iter()
                .filter_map(|(path, place)| {
                    let rest = path.strip_prefix(&from)?;
                    (rest.is_empty() || rest.starts_with('.'))
                        .then(|| (format!("{to}{rest}"), place.clone()))
                })
                .collect();
            self.places.extend(moved);
        }
    }

    /// Fills in the place: that of the path itself, of something in it, or of the nearest table
    /// around it.
    fn locate(&self, mut problem: Problem) -> Problem {
        let normal = problem.path.replace('[', ".").replace(']', "");
        let mut path = normal.as_str();
        problem.place = loop {
            if let Some(place) = self.places.get(path) {
                break Some(place.clone());
            }
            let inside = format!("{path}.");
            let mut below = self.places.range(inside.clone()..);
            if let Some((found, place)) = below.next()
                && found.starts_with(&inside)
                && path == normal
            {
                break Some(place.clone());
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => break None,
            }
        };
        problem
    }
}

struct Reader<'a> {
    file: Source<'a>,
    places: &'a mut BTreeMap<String, String>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, at: &str) -> Map<String, Value> {
        let mut out = Map::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let path = if at.is_empty() {
                name.clone()
            } else {
                format!("{at}.{name}")
            };
            self.place(&path, key.span().start);
            let value = self.value(value.get_ref(), &path);
            out.insert(name, value);
        }
        out
    }

    fn value(&mut self, value: &DeValue<'_>, at: &str) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(number) => {
                let radix = number.radix();
                i64::from_str_radix(number.as_str(), radix)
                    .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from)
            }
            DeValue::Float(number) => number
                .as_str()
                .parse::<f64>()
                .map_or(Value::Null, Value::from),
            DeValue::Datetime(at) => Value::String(at.to_string()),
            DeValue::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{at}.{index}");
                    self.place(&path, item.span().start);
                    out.push(self.value(item.get_ref(), &path));
                }
                Value::Array(out)
            }
            DeValue::Table(table) => Value::Object(self.table(table, at)),
        }
    }

    fn place(&mut self, path: &str, offset: usize) {
        let line = line_of(self.file.text, offset);
        self.places
            .insert(path.to_owned(), format!("{}:{line}", self.file.name));
    }
}

/// Whether a field is only missing because its bad value was reported and taken out.
fn follows_from(problems: &[Problem], path: &str, message: &str) -> bool {
    let Some(field) = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    else {
        return false;
    };
    let full = if path == "." {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    };
    problems.iter().any(|problem| problem.path == full)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Whether the schema allows text, and neither a number nor a flag, at `path`.
fn wants_text(schema: &Value, path: &[String]) -> bool {
    let mut at = schema;
    for part in path {
        at = resolve(schema, at);
        let Some(next) = at.get("properties").and_then(|p| p.get(part)) else {
            return false;
        };
        at = next;
    }
    let at = resolve(schema, at);
    let kinds = match at.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return at.get("enum").is_some() || at.get("oneOf").is_some(),
    };
    kinds.contains(&"string") && !kinds.contains(&"array")
}

/// Follows `$ref`, and the one real branch of an optional value.
fn resolve<'a>(root: &'a Value, mut at: &'a Value) -> &'a Value {
    for _ in 0..8 {
        if let Some(name) = at.get("$ref").and_then(Value::as_str) {
            match root.pointer(name.trim_start_matches('#')) {
                Some(target) => at = target,
                None => return at,
            }
        } else if let Some(branches) = at.get("anyOf").and_then(Value::as_array) {
            let real = |branch: &&Value| branch.get("type").and_then(Value::as_str) != Some("null");
            match branches.iter().find(real) {
                Some(branch) => at = branch,
                None => return at,
            }
        } else {
            return at;
        }
    }
    at
}

fn toml_value(text: String) -> Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    value
        .and_then(|value| serde_json::to_value(value).ok())
        .unwrap_or(Value::String(text))
}

fn set(values: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        values.insert(first.clone(), value);
        return;
    }
    let child = values
        .entry(first.clone())
        .or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    if let Value::Object(child) = child {
        set(child, rest, value);
    }
}

/// Takes the value at a path such as `repositories[0].name` out; the nearest value around it that
/// exists if it does not. False if there is nothing left to take out.
fn remove(values: &mut Map<String, Value>, path: &str) -> bool {
    let normal = path.replace('[', ".").replace(']', "");
    let mut parts: Vec<&str> = normal
        .split('.')
        .filter(|part| !part.is_empty() && *part != "?")
        .collect();
    while let Some(last) = parts.pop() {
        let parent = parts
            .iter()
            .try_fold(&mut *values as &mut dyn Slot, |at, part| at.child(part));
        if parent.is_some_and(|parent| parent.take(last)) {
            return true;
        }
    }
    false
}

/// A value that has named or numbered children.
trait Slot {
    fn child(&mut self, name: &str) -> Option<&mut dyn Slot>;
    fn take(&mut self, name: &str) -> bool;
}

impl Slot for Map<String, Value> {
    fn child(&mut self, name: &str) -> Option<&mut dyn Slot> {
        self.get_mut(name).map(|value| value as &mut dyn Slot)
    }

    fn take(&mut self, name: &str) -> bool {
        self.remove(name).is_some()
    }
}

impl Slot for Value {
    fn child(&mut self, name: &str) -> Option<&mut dyn Slot> {
        match self {
            Self::Object(map) => map.child(name),
            Self::Array(items) => {
                let item = items.get_mut(name.parse::<usize>().ok()?)?;
                Some(item as &mut dyn Slot)
            }
            _ => None,
        }
    }

    fn take(&mut self, name: &str) -> bool {
        match self {
            Self::Object(map) => map.take(name),
            Self::Array(items) => match name.parse::<usize>() {
                Ok(index) if index < items.len() => {
                    items.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// The text at a path such as `hook.listen`, if that is what stands there.
fn text_at<'a>(values: &'a Map<String, Value>, path: &str) -> Option<&'a str> {
    let pointer = path.replace('[', ".").replace(']', "");
    let mut parts = pointer.split('.');
    let first = values.get(parts.next()?)?;
    let found = parts.try_fold(first, |at, part| match at {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => at.get(part),
    });
    found?.as_str()
}

/// What serde calls things, and what people do.
const WORDS: [(&str, &str, &str); 5] = [
    (
        "expected usize",
        "expected a whole number",
        "Write a number without quotes.",
    ),
    (
        "expected u",
        "expected a whole number",
        "Write a number without quotes.",
    ),
    (
        "expected a sequence",
        "expected a list",
        "Write a list, such as [\"one\", \"two\"].",
    ),
    (
        "expected struct",
        "expected a section",
        "Name the field of the section as well.",
    ),
    (
        "expected a boolean",
        "expected true or false",
        "Write true or false, without quotes.",
    ),
];

/// Serde's words for a value of the wrong type in plain ones.
fn plain(message: &str, found: Option<&str>) -> (String, String) {
    if message == "invalid socket address syntax" {
        return (
            format!("{:?} is no address with a port", found.unwrap_or_default()),
            "Write both, such as \"127.0.0.1:8080\".".to_owned(),
        );
    }
    let known = WORDS
        .iter()
        .find_map(|(serde, ours, remedy)| Some((message.split_once(serde)?.0, ours, remedy)));
    match known {
        Some((before, ours, remedy)) => (format!("{before}{ours}"), (*remedy).to_owned()),
        None => (message.to_owned(), "Correct the value.".to_owned()),
    }
}

/// Turns serde's message into what is wrong and what to do.
fn explain(path: &str, message: &str, found_text: Option<&str>) -> (String, String) {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((found, known)) = names.split_first() else {
        return plain(message, found_text);
    };
    let unknown_field = message.starts_with("unknown field");
    if !unknown_field && !message.starts_with("unknown variant") {
        if message.starts_with("missing field") {
            return (message.to_owned(), format!("Add `{found}` under {path}."));
        }
        return plain(message, found_text);
    }
    let what = if unknown_field {
        "there is no such field".to_owned()
    } else {
        format!("`{found}` is not known here")
    };
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min();
    let remedy = match near {
        Some((distance, name)) if distance <= 3 => format!("Did you mean `{name}`?"),
        _ if known.is_empty() => "Remove it.".to_owned(),
        _ => format!("Known: {}.", known.join(", ")),
    };
    (what, remedy)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::{ByteSize, Span};

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Root {
        hook: Hook,
        repositories: Vec<Repository>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Hook {
        listen: String,
        body_max: ByteSize,
        timeout: Span,
        token: Option<String>,
        limit: u32,
        labels: Vec<String>,
        address: std::net::SocketAddr,
    }

    impl Default for Hook {
        fn default() -> Self {
            Self {
                listen: "127.0.0.1:8080".into(),
                body_max: ByteSize::mib(4),
                timeout: Span::secs(5),
                token: None,
                limit: 1,
                labels: Vec::new(),
                address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            }
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Repository {
        name: String,
    }

    impl Section for Root {
        fn check(&self, _path: &str, problems: &mut Vec<Problem>) {
            if !self.hook.listen.contains(':') {
                problems.push(Problem::new("hook.listen", "no port", "Write host:port."));
            }
        }
    }

    fn check(text: &str, env: &[(&str, &str)]) -> String {
        let env = env
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        match load::<Root>(
            Some(Source {
                name: "n.toml",
                text,
            }),
            &MapEnv(env),
        ) {
            Ok(root) => serde_json::to_string(&root).unwrap(),
            Err(problems) => problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn defaults_file_and_environment_stack() {
        insta::assert_snapshot!(check(
            "[hook]\ntimeout = \"2m\"\n",
            &[
                ("NIGHTSHIFT__HOOK__LISTEN", "0.0.0.0:80"),
                ("NIGHTSHIFT__HOOK__TOKEN", "123")
            ]
        ));
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let text = "[hook]\nlisten = \"nowhere\"\nbody_mx = 3\ntimeout = \"soon\"\n\n[[repositories]]\nname = 3\n\n[[repositories]]\nnam = \"a\"\n";
        insta::assert_snapshot!(check(text, &[("NIGHTSHIFT__HOOK__BODY_MAX", "lots")]));
    }

    #[test]
    fn wrong_types_are_told_in_plain_words() {
        insta::assert_snapshot!(check(
            "[hook]\nlimit = \"four\"\naddress = \"here\"\n",
            &[
                ("NIGHTSHIFT__REPOSITORIES__0__NAME", "shop"),
                ("NIGHTSHIFT__HOOK__LABELS", "cluster"),
            ]
        ), @r#"
        n.toml:3: hook.address: "here" is no address with a port. Write both, such as "127.0.0.1:8080".
        environment variable NIGHTSHIFT__HOOK__LABELS: hook.labels: invalid type: string "cluster", expected a list. Write a list, such as ["one", "two"].
        n.toml:2: hook.limit: invalid type: string "four", expected a whole number. Write a number without quotes.
        environment variable NIGHTSHIFT__REPOSITORIES__0__NAME: repositories: invalid type: map, expected a list. Write a list, such as ["one", "two"].
        "#);
    }

    #[test]
    fn a_section_given_as_text_is_one() {
        insta::assert_snapshot!(check("", &[("NIGHTSHIFT__HOOK", "on")]), @r#"environment variable NIGHTSHIFT__HOOK: hook: invalid type: string "on", expected a section. Name the field of the section as well."#);
    }

    #[test]
    fn broken_toml_says_where() {
        insta::assert_snapshot!(check("[hook\nlisten = 3\n", &[]));
    }
}
