//! The agent against Prometheus: a fake that records and misbehaves, and the real one over history
//! written with `promtool`.

mod fake;
mod faults;
mod real;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use incident::incident::Member;
use incident::message::{EvidenceReply, EvidenceRequest};
use incident::ports::{Agent as _, AgentError, AgentTask, Clock as _, Cx, Outcome};
use incident::{
    AlertStatus, Fingerprint, Incident, IncidentId, IncidentStatus, MessageId, Severity, Subject,
    Untrusted, Window,
};
use jiff::{SignedDuration, Timestamp};
use runtime::{SeededEntropy, SystemClock};

use super::*;

/// When the alert of every test here fires.
const FIRED_AT: &str = "2026-03-14T10:35:00Z";
const EXPRESSION: &str = r#"sum(rate(http_requests_total{job="checkout",code=~"5.."}[1m])) / sum(rate(http_requests_total{job="checkout"}[1m])) > 0.05"#;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A request about `labels`, whose alert links to `expression`.
fn request(labels: &[(&str, &str)], expression: &str) -> EvidenceRequest {
    let fired_at = instant(FIRED_AT);
    let mut url = reqwest::Url::parse("http://prometheus.example:9090/graph").unwrap();
    url.query_pairs_mut()
        .append_pair("g0.expr", expression)
        .append_pair("g0.tab", "1");
    let labels: BTreeMap<String, Untrusted> = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), Untrusted::from(*v)))
        .collect();
    let member = Member {
        status: AlertStatus::Firing,
        alert: "HighErrorRatio".into(),
        severity: Severity::Critical,
        labels,
        annotations: BTreeMap::new(),
        generator_url: Untrusted::new(String::from(url)),
        starts_at: fired_at,
        ends_at: None,
    };
    let incident = Incident {
        id: IncidentId::from_stored("inc-0123456789ab"),
        correlation: "service:checkout".to_owned(),
        subject: Subject {
            kind: "service".to_owned(),
            name: "checkout".into(),
            namespace: None,
            cluster: None,
        },
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        members: BTreeMap::from([(Fingerprint::from_stored("00ff"), member)]),
        members_left_out: 0,
        groups: std::collections::BTreeSet::new(),
        truncated: 0,
        started_at: fired_at,
        opened_at: fired_at,
        resolved_at: None,
        generation: 0,
    };
    EvidenceRequest {
        incident,
        window: Window {
            start: instant("2026-03-14T10:05:00Z"),
            end: fired_at + SignedDuration::from_secs(60),
        },
        fired_at,
    }
}

fn task(request: &EvidenceRequest) -> AgentTask {
    let input = serde_json::to_value(request).unwrap();
    AgentTask {
        message_id: MessageId::derive("test", [input.to_string().as_str()]),
        context: None,
        skill: SKILL.to_owned(),
        input,
    }
}

fn agent(config: Config) -> ObservabilityAgent {
    ObservabilityAgent::new(config, SystemClock::new(), Arc::new(SeededEntropy::new(1))).unwrap()
}

fn context(within: Duration) -> Cx {
    Cx::root(SystemClock::new(), within, "0".repeat(32))
}

fn reply(outcome: Result<Outcome, AgentError>) -> EvidenceReply {
    let Ok(Outcome::Completed { output }) = outcome else {
        panic!("{outcome:?}");
    };
    serde_json::from_value(output).unwrap()
}

/// One line for each observation and gap: what a reader would see.
fn lines(reply: &EvidenceReply) -> String {
    let seen = reply
        .observations
        .iter()
        .map(|o| format!("- {}\n    {}", o.summary, o.query));
    let gaps = reply
        .gaps
        .iter()
        .map(|g| format!("? {}: {}", g.what, g.why));
    seen.chain(gaps).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bad_address_is_refused_at_the_start() {
    let config = Config {
        prometheus_url: Some("ftp://prometheus".to_owned()),
        ..Config::default()
    };
    let error =
        ObservabilityAgent::new(config, SystemClock::new(), Arc::new(SeededEntropy::new(1)))
            .unwrap_err();
    insta::assert_snapshot!(error, @r#"agents.observability.prometheus_url: "ftp://prometheus" is not an http or https address"#);
    assert_eq!(error.code(), Code("E-OBS-010"));
}

#[tokio::test]
async fn without_a_prometheus_the_gap_says_how_to_configure_one() {
    let request = request(&[("job", "checkout")], EXPRESSION);
    let outcome = agent(Config::default())
        .run(task(&request), &context(Duration::from_secs(5)))
        .await;
    insta::assert_snapshot!(lines(&reply(outcome)), @"? metrics: no Prometheus is configured; set agents.observability.prometheus_url (E-OBS-001)");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let agent = agent(Config::default());
    let cx = context(Duration::from_secs(5));
    let good = task(&request(&[], EXPRESSION));
    let check = async |task: AgentTask, expect: &str| {
        let error = agent.run(task, &cx).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expect), "{text}");
    };
    let mut other = good.clone();
    other.skill = "triage/1".to_owned();
    check(other, "the only skill is").await;
    let mut empty = good.clone();
    empty.input = serde_json::json!({"incident": 5});
    check(empty, "the input is not an evidence/1 request").await;
    let mut backwards = request(&[], EXPRESSION);
    backwards.window.end = backwards.window.start;
    check(task(&backwards), "the window is empty").await;
    agent.run(good.clone(), &cx).await.unwrap();
    let mut changed = task(&request(&[("job", "other")], EXPRESSION));
    changed.message_id = good.message_id;
    check(changed, "came before with another input").await;
}
