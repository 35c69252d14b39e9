//! What the observability-agent may ask, and how much of it.

use std::path::PathBuf;

use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Points of one series that Prometheus answers at most; more is an error of its own.
const PROMETHEUS_POINTS_MAX: usize = 11_000;

/// The section `agents.observability`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the Prometheus HTTP API, such as `http://prometheus:9090`, with its path prefix
    /// if it has one. Without it no metric is read and every report says so.
    pub prometheus_url: Option<String>,
    /// The address people open in a browser, where it differs from `prometheus_url`. Only used for
    /// links.
    pub link_url: Option<String>,
    /// File with the bearer token for Prometheus. Read anew for every incident, so that a rotated
    /// token works without a restart. Without it no credentials are sent.
    pub token_file: Option<PathBuf>,
    /// Longest time for one request. A slower one becomes a gap in the report.
    pub request_timeout: Span,
    /// Time between points. Without it the scrape interval is measured and used, so that the onset
    /// is as exact as the data.
    pub step: Option<Span>,
    /// Points asked for per series; the step is widened until the window fits. More make the onset
    /// of a long window more exact and the answers larger. Prometheus allows 11,000.
    pub points_max: usize,
    /// Points of one series kept in the evidence, for the plot. The onset is found before thinning.
    pub points_kept: usize,
    /// How far before the alert (and its `for`) the onset is looked for. Longer finds slower
    /// faults, and more that has nothing to do with the alert.
    pub lookback: Span,
    /// Range queries for one incident; the most telling metrics are asked first and the rest is
    /// named as a gap.
    pub queries_max: usize,
    /// Series kept from the answer to one query.
    pub series_per_query_max: usize,
    /// Metrics looked at when the subject's metrics are discovered.
    pub metrics_max: usize,
    /// Requests to Prometheus at the same time for one incident.
    pub concurrency: usize,
    /// Longest answer that is read. A longer one becomes a gap.
    pub body_max: ByteSize,
    /// Longest alert expression that is sent back to Prometheus.
    pub expression_max: ByteSize,
    /// Finished tasks remembered, so that the same message asked twice is answered once.
    pub tasks_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prometheus_url: None,
            link_url: None,
            token_file: None,
            request_timeout: Span::secs(10),
            step: None,
            points_max: 2_000,
            points_kept: 240,
            lookback: Span::secs(15 * 60),
            queries_max: 24,
            series_per_query_max: 4,
            metrics_max: 500,
            concurrency: 4,
            body_max: ByteSize::mib(8),
            expression_max: ByteSize::kib(8),
            tasks_kept: 64,
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        for (field, url) in [
            ("prometheus_url", &self.prometheus_url),
            ("link_url", &self.link_url),
        ] {
            if let Some(what) = url.as_deref().and_then(url_problem) {
                let remedy = "write an address such as http://prometheus:9090";
                problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
            }
        }
        let ranges = [
            ("points_max", self.points_max, 30, PROMETHEUS_POINTS_MAX),
            ("points_kept", self.points_kept, 10, PROMETHEUS_POINTS_MAX),
            ("queries_max", self.queries_max, 1, 200),
            ("series_per_query_max", self.series_per_query_max, 1, 100),
            ("metrics_max", self.metrics_max, 1, 10_000),
            ("concurrency", self.concurrency, 1, 32),
            ("tasks_kept", self.tasks_kept, 1, 10_000),
        ];
        for (field, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                problems.push(Problem::new(
                    format!("{path}.{field}"),
                    format!("{value} is out of range"),
                    format!("choose a number from {low} to {high}"),
                ));
            }
        }
        let spans = [
            ("request_timeout", Some(self.request_timeout)),
            ("step", self.step),
            ("lookback", Some(self.lookback)),
        ];
        for (field, span) in spans {
            if span.is_some_and(|span| span < Span::millis(100)) {
                problems.push(Problem::new(
                    format!("{path}.{field}"),
                    "shorter than 100 ms",
                    "write a length of time such as \"10s\"",
                ));
            }
        }
    }
}

/// What is wrong with `text` as the address of an HTTP service.
pub(super) fn url_problem(text: &str) -> Option<String> {
    let url = match reqwest::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return Some(format!("{text:?} is not an address ({error})")),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Some(format!("{text:?} is not an http or https address"));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Some("the address carries a user or password".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, expect: &[&str]) {
        let config: Config = serde_json::from_str(toml).unwrap();
        let mut problems = Vec::new();
        config.check("agents.observability", &mut problems);
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn problems_name_field_value_and_remedy() {
        check("{}", &[]);
        check(r#"{"prometheus_url": "http://p:9090/prefix"}"#, &[]);
        check(
            r#"{"prometheus_url": "p:9090", "points_max": 20000, "lookback": "0s"}"#,
            &[
                "agents.observability.prometheus_url: \"p:9090\" is not an http or https address. write an address such as http://prometheus:9090",
                "agents.observability.points_max: 20000 is out of range. choose a number from 30 to 11000",
                "agents.observability.lookback: shorter than 100 ms. write a length of time such as \"10s\"",
            ],
        );
    }
}
