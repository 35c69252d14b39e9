//! Reconciliation with the real Alertmanager and the real triage: what a lost notification costs.

use std::collections::BTreeSet;
use std::time::Duration;

use incident::IncidentStatus;
use incident::ports::Clock as _;
use jiff::{SignedDuration, Timestamp};
use runtime::SystemClock;
use serde_json::{Value, json};
use tests::alertmanager::{Alertmanager, Plan};
use tests::nightshift::Install;
use tests::process::Process;
use tests::sink::Sink;
use tests::wait::until;

const SOON: Duration = Duration::from_secs(40);

/// A Nightshift in one process, and an Alertmanager that posts to it or to a sink that says yes and
/// loses everything.
struct Night {
    install: Install,
    alertmanager: Alertmanager,
    sink: Sink,
    running: Option<Process>,
    now: Timestamp,
    _folder: tempfile::TempDir,
}

/// Where Alertmanager posts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Hook,
    Nowhere,
}

impl Night {
    async fn begin(to: To, plan: impl FnOnce(&mut Plan), reconcile: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let install = Install::new(folder.path(), "").expect("an installation");
        let sink = Sink::start().await.expect("a sink");
        let url = match to {
            To::Hook => install.webhook(),
            To::Nowhere => sink.url.clone(),
        };
        let mut made = Plan::new(&url, &install.token);
        plan(&mut made);
        let alertmanager = Alertmanager::with(folder.path(), &made).await;
        let alertmanager = alertmanager.expect("Alertmanager starts");
        let toml = format!(
            "[alertmanager]\nurls = [\"{}\"]\n\n[hook.reconcile]\n{reconcile}\n",
            alertmanager.url
        );
        install.configure(&toml).expect("a file");
        Self {
            install,
            alertmanager,
            sink,
            running: None,
            now: SystemClock::new().now(),
            _folder: folder,
        }
    }

    async fn up(&mut self) {
        self.running = Some(self.install.start(&["up"]).await.expect("it starts"));
    }

    /// `service` fires since two minutes ago.
    async fn fires(&self, services: &[&str]) {
        let end = self.at(3600);
        let alerts: Value = services.iter().map(|s| self.alert(s, end)).collect();
        self.alertmanager.send(&alerts).await.expect("it is taken");
    }

    /// `service` is well again.
    async fn ends(&self, service: &str) {
        let end = SystemClock::new().now();
        let alerts = json!([self.alert(service, end)]);
        self.alertmanager.send(&alerts).await.expect("it is taken");
    }

    fn alert(&self, service: &str, end: Timestamp) -> Value {
        json!({
            "labels": {"alertname": "ErrorsHigh", "team": "shop", "service": service, "severity": "critical"},
            "annotations": {"summary": "requests fail"},
            "startsAt": self.at(-120).to_string(),
            "endsAt": end.to_string(),
            "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        })
    }

    fn at(&self, seconds: i64) -> Timestamp {
        let span = SignedDuration::from_secs(seconds);
        self.now.checked_add(span).expect("a time")
    }

    /// The one incident, once it stands like this.
    async fn incident(&self, status: IncidentStatus) -> String {
        let what = format!("one incident that is {status}");
        let found = until(&what, SOON, async || {
            let ids = self.install.incidents().await;
            assert!(ids.len() <= 1, "one cause, one incident: {ids:?}");
            let incident = self.install.incident(ids.first()?).await?.incident;
            (incident.status == status).then(|| incident.id.to_string())
        });
        found
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    fn log(&self) -> String {
        self.running
            .as_ref()
            .map(Process::log_tail)
            .unwrap_or_default()
    }

    /// The services that any incident is about.
    async fn services(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for id in self.install.incidents().await {
            let detail = self.install.incident(&id).await;
            let members = detail
                .map(|detail| detail.incident.members)
                .unwrap_or_default();
            let services = members.values().filter_map(|m| m.labels.get("service"));
            found.extend(services.map(|service| service.expose().to_owned()));
        }
        found
    }

    /// How often each disposition and rule was given to the alerts of the sink's first body.
    async fn rulings(&self, fingerprint: &str) -> Vec<(String, String)> {
        let page = self
            .install
            .get(&format!("/api/v1/alerts/{fingerprint}/rulings"))
            .await
            .unwrap_or_default();
        let history = page["history"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = history
            .iter()
            .map(|ruling| (word(&ruling["disposition"]), word(&ruling["rule"])));
        told.collect()
    }

    async fn count(&self, line: &str) -> u64 {
        let text = self.install.metrics().await.unwrap_or_default();
        let found = text
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0)
    }

    async fn filled(&self, kind: &str) -> u64 {
        let line = format!("nightshift_reconcile_filled_total{{kind=\"{kind}\"}}");
        self.count(&line).await
    }

    async fn looks(&self, outcome: &str) -> u64 {
        if outcome == "any" {
            let all = ["complete", "partial"].map(|outcome| self.looks_that(outcome));
            let [complete, partial] = all;
            return complete.await + partial.await;
        }
        self.looks_that(outcome).await
    }

    async fn looks_that(&self, outcome: &str) -> u64 {
        let line = format!("nightshift_reconcile_looks_total{{outcome=\"{outcome}\"}}");
        self.count(&line).await
    }

    /// So many more looks that ended so; `any` for all that did not fail.
    async fn more_looks(&self, outcome: &str, more: u64) {
        let from = self.looks(outcome).await;
        let done = until("looks", SOON, async || {
            (self.looks(outcome).await >= from + more).then_some(())
        });
        done.await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }
}

const QUICK: &str = "every = \"300ms\"\nsettle = \"1s\"\nuptime_min = \"1s\"\nabsent_looks = 3\n";

fn short_memory(plan: &mut Plan) {
    plan.resolve_timeout = "2s";
}

/// The notification was lost; the incident opens all the same. Then the notification comes after
/// all, and after it the lost end is made up for as well.
#[tokio::test(flavor = "multi_thread")]
async fn lost_notifications_are_made_up_for_and_late_ones_change_nothing() {
    let mut night = Night::begin(To::Nowhere, short_memory, QUICK).await;
    night.up().await;
    night.fires(&["checkout"]).await;
    let id = night.incident(IncidentStatus::Open).await;
    assert_eq!(night.filled("missed").await, 1);

    let lost = night.sink.first("firing").await.expect("it was sent");
    let fingerprint = lost.body["alerts"][0]["fingerprint"]
        .as_str()
        .expect("text");
    assert_eq!(night.install.post(&lost.body).await, Some(200));
    let late = until("a ruling on the late notification", SOON, async || {
        let rulings = night.rulings(fingerprint).await;
        (rulings.len() == 2).then_some(rulings)
    });
    let pair = |disposition: &str, rule: &str| (disposition.to_owned(), rule.to_owned());
    assert_eq!(
        late.await.expect("it is ruled on"),
        [pair("opened", "open"), pair("suppressed", "same-alert")]
    );

    night.more_looks("complete", 2).await;
    night.ends("checkout").await;
    assert_eq!(night.incident(IncidentStatus::Resolved).await, id);
    let lost = night.sink.first("resolved").await.expect("it was sent");
    assert_eq!(night.filled("resolved").await, 1);
    assert_eq!(night.install.post(&lost.body).await, Some(200));
    let late = until("a ruling on the late end", SOON, async || {
        let rulings = night.rulings(fingerprint).await;
        (rulings.len() == 4).then_some(rulings)
    });
    let late = late.await.expect("it is ruled on");
    assert_eq!(late[3], pair("suppressed", "same-alert"), "{late:?}");
    night.more_looks("complete", 3).await;
    assert_eq!(night.incident(IncidentStatus::Resolved).await, id);
    let all = [night.filled("missed").await, night.filled("refired").await];
    assert_eq!(all, [1, 0], "nothing is filled twice");
}

/// Nobody was there when it fired, and nobody when its notification was tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_was_away_finds_what_fired_meanwhile_once() {
    let mut night = Night::begin(To::Hook, |_| {}, QUICK).await;
    night.fires(&["checkout"]).await;
    until("tries in vain", SOON, async || {
        let log = night.alertmanager.process.log_tail();
        log.contains("connection refused").then_some(())
    })
    .await
    .expect("it tries");
    night.up().await;
    let clock = SystemClock::new();
    night.incident(IncidentStatus::Open).await;
    println!("known {:?} after the start", clock.elapsed());
    // Alertmanager tries again by itself, and is heard.
    until("the notification itself", SOON, async || {
        let accepted = night
            .count("nightshift_hook_alerts_total{outcome=\"accepted\"}")
            .await;
        (accepted >= 1).then_some(())
    })
    .await
    .expect("it comes");
    night.more_looks("any", 2).await;
    night.incident(IncidentStatus::Open).await;
}

/// Three alerts of one group, and a body that holds one of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_left_out_is_looked_for() {
    let plan = |plan: &mut Plan| plan.max_alerts = 1;
    let rare = "every = \"1h\"\nsettle = \"1h\"\nsoon = \"300ms\"\n";
    let mut night = Night::begin(To::Hook, plan, rare).await;
    night.up().await;
    let done = until("the look at the start", SOON, async || {
        (night.looks("any").await == 1).then_some(())
    });
    done.await.expect("it looks");
    let end = night.at(3600);
    let mut alerts = Vec::new();
    for pod in ["a", "b", "c"] {
        let mut alert = night.alert("checkout", end);
        alert["labels"]["instance"] = json!(pod);
        alerts.push(alert);
    }
    night
        .alertmanager
        .send(&json!(alerts))
        .await
        .expect("taken");
    until("all three", SOON, async || {
        let ids = night.install.incidents().await;
        let detail = night.install.incident(ids.first()?).await?;
        (detail.incident.members.len() == 3).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", night.log()));
    assert_eq!(night.filled("missed").await, 2);
}

/// An Alertmanager that forgot everything does not end what fires.
#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_forgot_everything_ends_nothing() {
    let patient = QUICK.replace("uptime_min = \"1s\"", "uptime_min = \"10m\"");
    let mut night = Night::begin(To::Nowhere, short_memory, &patient).await;
    night.up().await;
    night.fires(&["checkout"]).await;
    let id = night.incident(IncidentStatus::Open).await;
    night.more_looks("partial", 2).await;
    night
        .alertmanager
        .restart_empty()
        .await
        .expect("it starts again");
    night.more_looks("partial", 8).await;
    assert_eq!(night.incident(IncidentStatus::Open).await, id);
    assert_eq!(night.filled("resolved").await, 0);
    // Prometheus sends it again; nothing is new about it.
    night.fires(&["checkout"]).await;
    night.more_looks("partial", 3).await;
    assert_eq!(night.incident(IncidentStatus::Open).await, id);
    assert_eq!(night.filled("missed").await, 1);
}

/// It ended for us by mistake, and comes back under its old start: Alertmanager's own notification
/// would be taken for the first one.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_goes_on_after_its_end_opens_the_incident_again() {
    let mut night = Night::begin(To::Nowhere, short_memory, QUICK).await;
    night.up().await;
    night.fires(&["checkout"]).await;
    let id = night.incident(IncidentStatus::Open).await;
    night.more_looks("complete", 2).await;
    night
        .alertmanager
        .restart_empty()
        .await
        .expect("it starts again");
    assert_eq!(night.incident(IncidentStatus::Resolved).await, id);
    night.fires(&["checkout"]).await;
    assert_eq!(night.incident(IncidentStatus::Open).await, id);
    assert_eq!(night.filled("refired").await, 1);
    let generation = night.install.incident(&id).await.expect("it is there");
    assert_eq!(generation.incident.generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_silenced_is_no_gap() {
    let mut night = Night::begin(To::Nowhere, |_| {}, QUICK).await;
    let now = SystemClock::new().now();
    let silenced = night.alertmanager.silence(("service", "search"), now).await;
    silenced.expect("it is taken");
    night.up().await;
    night.fires(&["search", "checkout"]).await;
    night.incident(IncidentStatus::Open).await;
    night.more_looks("any", 5).await;
    assert_eq!(
        night.services().await,
        BTreeSet::from([String::from("checkout")])
    );
}
