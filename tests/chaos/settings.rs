//! How the product is set for a run: leases and timeouts short, because kills come a hundred times
//! faster than in life. Everything else is the default.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::config::Span;

/// How long a worker may be silent before its entry goes to somebody else.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Longest wait for one answer of the bus.
pub(crate) const BUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest call of triage.
pub(crate) const TRIAGE_DEADLINE: Duration = Duration::from_secs(3);

/// Settings by their path, such as `bus.lease`.
pub(crate) fn settings() -> BTreeMap<String, String> {
    let span = |span: Duration| Span(span).to_string();
    let (lease, timeout, deadline) = (span(LEASE), span(BUS_TIMEOUT), span(TRIAGE_DEADLINE));
    let all = [
        ("bus.lease", lease.as_str()),
        ("bus.timeout", &timeout),
        ("bus.durability.wait", "700ms"),
        ("bus.poll", "200ms"),
        ("bus.block", "500ms"),
        ("bus.sweep", "500ms"),
        // Deliveries are used up by kills here, not by poison.
        ("bus.attempts_max", "100"),
        ("bus.restarts_forgiven", "1000"),
        ("hook.append_timeout", "2s"),
        ("hook.store_timeout", "2s"),
        ("hook.ready_cache", "50ms"),
        ("dispatcher.triage.deadline", &deadline),
        ("dispatcher.triage.batch_wait", "300ms"),
        ("dispatcher.work.deadline", "45s"),
        ("dispatcher.retry.wait_min", "100ms"),
        ("dispatcher.retry.wait_max", "2s"),
        ("dispatcher.retry.settle_within", "10s"),
        ("a2a.lease", "3s"),
        ("a2a.poll", "100ms"),
        ("pipelines.report_within", "30s"),
        ("pipelines.announce_timeout", "3s"),
        ("pipelines.specialist_timeout", "10s"),
        ("pipelines.reserve", "3s"),
        ("pipelines.preview_timeout", "5s"),
        ("pipelines.draft_timeout", "5s"),
        ("pipelines.notify_timeout", "3s"),
    ];
    let owned = all.map(|(path, value)| (path.to_owned(), value.to_owned()));
    BTreeMap::from(owned)
}

/// The same as variables of the environment.
pub(crate) fn environment() -> Vec<(String, String)> {
    let variable = |path: &str| format!("NIGHTSHIFT__{}", path.replace('.', "__").to_uppercase());
    settings()
        .iter()
        .map(|(path, value)| (variable(path), value.clone()))
        .collect()
}
