//! What each failure of Prometheus becomes.

use runtime::config::{ByteSize, Span};

use super::fake::{Fake, Fault};
use super::*;

fn config(fake: &Fake) -> Config {
    Config {
        prometheus_url: Some(fake.url.clone()),
        link_url: Some("https://metrics.example/p".to_owned()),
        body_max: ByteSize::mib(1),
        ..Config::default()
    }
}

async fn ask(fault: Fault) -> (Fake, EvidenceReply) {
    let fake = Fake::start(fault).await;
    let request = request(&[("job", "checkout")], EXPRESSION);
    let cx = context(Duration::from_secs(30));
    let outcome = agent(config(&fake)).run(task(&request), &cx).await;
    (fake, reply(outcome))
}

/// Every question fails with `code`, was asked `tries` times, and the reply still comes.
async fn check(fault: Fault, code: &str, tries: usize) {
    let (fake, reply) = ask(fault).await;
    assert_eq!(reply.observations, [], "{fault:?}");
    let named = reply
        .gaps
        .iter()
        .filter(|gap| gap.why.contains(code))
        .count();
    let asked = fake.asked("query_range").len();
    assert_eq!(
        (named, asked),
        (5, 5 * tries),
        "{fault:?}: {:#?}",
        reply.gaps
    );
}

#[tokio::test]
async fn every_failure_is_a_named_gap() {
    check(Fault::Status(500), "E-OBS-006", 3).await;
    check(Fault::Status(429), "E-OBS-006", 3).await;
    check(Fault::Status(422), "too many (E-OBS-007)", 1).await;
    check(Fault::Status(400), "E-OBS-007", 1).await;
    check(Fault::Status(403), "E-OBS-005", 1).await;
    check(Fault::Status(302), "E-OBS-005", 1).await;
    check(Fault::Huge, "longer than 1MiB", 1).await;
    check(Fault::Garbage, "E-OBS-009", 1).await;
    check(Fault::Empty, "no samples in the window", 1).await;
}

#[tokio::test]
async fn a_warning_keeps_the_series_and_says_so() {
    let (_fake, reply) = ask(Fault::Warning).await;
    assert_eq!(reply.observations.len(), 5);
    assert_eq!(reply.gaps.len(), 5);
    assert_eq!(reply.gaps[0].why, "Prometheus warned: a shard is away");
}

#[tokio::test]
async fn the_reply_has_onset_levels_sentence_and_link() {
    let (_fake, reply) = ask(Fault::None).await;
    let first = &reply.observations[0];
    insta::assert_snapshot!(first.summary, @"the alert's expression rose from 1 to 9 at 10:32:30 UTC (the alert's threshold is 0.05)");
    insta::assert_snapshot!(first.link.as_ref().unwrap().one_line(400), @"https://metrics.example/p/graph?g0.expr=sum%28rate%28http_requests_total%7Bjob%3D%22checkout%22%2Ccode%3D%7E%225..%22%7D%5B1m%5D%29%29+%2F+sum%28rate%28http_requests_total%7Bjob%3D%22checkout%22%7D%5B1m%5D%29%29&g0.tab=0&g0.range_input=1860s&g0.end_input=2026-03-14+10%3A36%3A00");
    let incident::Fact::Series(series) = &first.fact else {
        panic!("{first:?}");
    };
    assert_eq!(series.points.len(), 118, "NaN and Inf are dropped");
    assert_eq!(reply.gaps, []);
}

#[tokio::test]
async fn a_prometheus_that_hangs_costs_no_more_than_the_deadline() {
    let fake = Fake::start(Fault::Hang).await;
    let mut config = config(&fake);
    config.request_timeout = Span::millis(200);
    let request = request(&[("job", "checkout")], EXPRESSION);
    let outcome = agent(config.clone())
        .run(task(&request), &context(Duration::from_secs(30)))
        .await;
    let gaps = reply(outcome).gaps;
    assert!(
        gaps.iter().any(|gap| gap.why.contains("E-OBS-004")),
        "{gaps:#?}"
    );
    assert_eq!(fake.asked("").len(), 3, "then it is left alone");

    config.request_timeout = Span::secs(60);
    let clock = SystemClock::new();
    let outcome = agent(config)
        .run(task(&request), &context(Duration::from_secs(1)))
        .await;
    assert!(reply(outcome).gaps.len() >= 3);
    assert!(clock.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_task_that_is_called_off_ends_at_once_and_can_be_asked_again() {
    let fake = Fake::start(Fault::Hang).await;
    let cancel = runtime::CancelToken::new();
    let cx = context(Duration::from_mins(1)).with_cancel(Arc::new(cancel.clone()));
    let agent = agent(config(&fake));
    let task = task(&request(&[("job", "checkout")], EXPRESSION));
    let run = agent.run(task.clone(), &cx);
    let call_off = async {
        while fake.asked("").is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run, call_off);
    assert!(
        matches!(outcome, Err(AgentError::Cancelled { .. })),
        "{outcome:?}"
    );
    let cx = context(Duration::from_millis(500));
    assert!(agent.run(task, &cx).await.is_ok());
}

#[tokio::test]
async fn the_same_message_is_asked_once() {
    let fake = Fake::start(Fault::None).await;
    let agent = agent(config(&fake));
    let task = task(&request(&[("job", "checkout")], EXPRESSION));
    let cx = context(Duration::from_secs(30));
    let (a, b) = tokio::join!(agent.run(task.clone(), &cx), agent.run(task.clone(), &cx));
    let c = agent.run(task, &cx).await;
    assert_eq!(a, b);
    assert_eq!(a, c);
    assert_eq!(fake.asked("rules").len(), 1);
}

#[tokio::test]
async fn the_token_is_read_for_every_incident_and_its_absence_is_a_gap() {
    let fake = Fake::start(Fault::None).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&fake);
    config.token_file = Some(folder.path().join("token"));
    let agent = agent(config.clone());
    let cx = context(Duration::from_secs(30));
    let ask = async |n: &str| {
        let request = request(&[("job", "checkout"), ("n", n)], EXPRESSION);
        reply(agent.run(task(&request), &cx).await)
    };
    let gaps = ask("0").await.gaps;
    assert!(gaps[0].why.contains("E-OBS-002"), "{gaps:?}");
    assert_eq!(
        fake.asked("").len(),
        0,
        "nothing is asked without the credentials"
    );
    for (n, token) in [("1", "first\n"), ("2", "second")] {
        std::fs::write(folder.path().join("token"), token).unwrap();
        ask(n).await;
        let last = fake.asked("").pop().unwrap();
        assert_eq!(
            last.authorization.unwrap(),
            format!("Bearer {}", token.trim())
        );
    }
}

#[tokio::test]
async fn text_from_outside_is_only_ever_a_query() {
    let fake = Fake::start(Fault::None).await;
    let hostile = r#"x"} or up{a="\"#;
    let expression = r#"evil{job="a\"} or b{c=\"", d=~".*"} > 3 or absent(nonexistent)"#;
    let request = request(&[("job", hostile), ("alertname", hostile)], expression);
    let cx = context(Duration::from_secs(30));
    reply(agent(config(&fake)).run(task(&request), &cx).await);
    let sent = fake.values("query_range", "query");
    assert_eq!(sent[0], r#"evil{job="a\"} or b{c=\"", d=~".*"}"#);
    let matched = fake.values("series", "match[]");
    insta::assert_snapshot!(matched.join("\n"), @r#"
    evil{job="a\"} or b{c=\"",d=~".*"}
    nonexistent
    {job="x\"} or up{a=\"\\"}
    "#);
    for asked in fake.asked("") {
        assert!(asked.path.starts_with("/prefix/api/v1/"), "{}", asked.path);
    }
}

#[tokio::test]
async fn without_a_link_the_rule_of_that_name_is_used_then_the_alerts_state() {
    let fake = Fake::start(Fault::None).await;
    let check = async |alert: &str, expect: &str| {
        let mut request = request(&[("job", "checkout")], EXPRESSION);
        for member in request.incident.members.values_mut() {
            member.generator_url = "not a url".into();
            member.alert = alert.into();
        }
        let cx = context(Duration::from_secs(30));
        let reply = reply(agent(config(&fake)).run(task(&request), &cx).await);
        assert_eq!(reply.observations[0].query, expect);
        reply.gaps
    };
    assert_eq!(check("HighErrorRatio", "errors:ratio").await, []);
    let gaps = check("Other", r#"ALERTS{alertname="Other"}"#).await;
    assert_eq!(gaps[0].what, "the alert's expression");
}
