//! Incidents for tests: built from numbers and diffs, in one made-up shop.

use std::collections::{BTreeMap, BTreeSet};

use incident::evidence::{Gap, Observation};
use incident::incident::Member;
use incident::{
    AlertStatus, Change, Evidence, EvidenceId, Fact, FileChange, Fingerprint, Incident, IncidentId,
    IncidentStatus, Series, SeriesRole, Severity, Subject, Untrusted, Window,
};
use jiff::{SignedDuration, Timestamp};

/// Seconds after noon.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-14T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

/// The alert fires at 12:05.
pub(crate) const FIRED: i64 = 300;

pub(crate) fn incident() -> Incident {
    let text = |t: &str| Untrusted::new(t);
    let labels = [
        ("alertname", "CheckoutErrorRateHigh"),
        ("namespace", "shop"),
        ("service", "checkout"),
        ("severity", "critical"),
    ];
    let annotations = [
        ("summary", "More than 5% of the requests of checkout fail"),
        (
            "description",
            "Requests wait for a database connection and time out",
        ),
        ("runbook_url", "https://runbooks.example/checkout-errors"),
    ];
    let pairs = |list: &[(&str, &str)]| -> BTreeMap<String, Untrusted> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), text(v)))
            .collect()
    };
    let member = Member {
        status: AlertStatus::Firing,
        alert: text("CheckoutErrorRateHigh"),
        severity: Severity::Critical,
        labels: pairs(&labels),
        annotations: pairs(&annotations),
        generator_url: text(
            "http://prometheus.example:9090/graph?g0.expr=checkout_errors_ratio+%3E+0.05",
        ),
        starts_at: at(FIRED),
        ends_at: None,
    };
    Incident {
        id: IncidentId::derive("service/shop/checkout", "2026-03-14T12:05:00Z"),
        correlation: "service/shop/checkout".to_owned(),
        subject: Subject {
            kind: "service".to_owned(),
            name: text("checkout"),
            namespace: Some(text("shop")),
            cluster: None,
        },
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        members: BTreeMap::from([(Fingerprint::from_stored("00f1a2b3c4d5e6f7"), member)]),
        members_left_out: 0,
        groups: BTreeSet::new(),
        truncated: 0,
        started_at: at(FIRED),
        opened_at: at(FIRED + 12),
        resolved_at: None,
        generation: 1,
    }
}

/// A series that steps from `before` to `after` at `onset` (seconds after noon).
pub(crate) fn series(
    role: SeriesRole,
    name: &str,
    unit: &str,
    (before, after): (f64, f64),
    onset: Option<i64>,
) -> Series {
    let wobble = |i: i64| 1.0 + 0.04 * f64::from(i32::try_from((i * 7) % 5 - 2).unwrap());
    let points = (-40_i64..16)
        .map(|i| {
            let second = i * 30;
            let level = if onset.is_some_and(|o| second >= o) {
                after
            } else {
                before
            };
            (at(second), level * wobble(i))
        })
        .collect();
    Series {
        role,
        name: Untrusted::new(name),
        unit: unit.to_owned(),
        points,
        threshold: (role == SeriesRole::Alert).then_some(0.05),
        onset: onset.map(at),
        before: Some(before),
        after: Some(if onset.is_some() { after } else { before }),
        score: if onset.is_some() { 24.0 } else { 0.0 },
    }
}

/// A commit of the repository `shop` that landed `landed` seconds after noon.
pub(crate) fn change(digit: char, landed: i64, subject: &str, path: &str, diff: &str) -> Change {
    let count = |sign: char| {
        let lines = diff.lines().filter(|line| line.starts_with(sign));
        u32::try_from(lines.count()).unwrap()
    };
    let services = path
        .strip_prefix("services/")
        .and_then(|rest| rest.split('/').next())
        .map(str::to_owned);
    Change {
        repository: "shop".to_owned(),
        commit: digit.to_string().repeat(40),
        parents: vec!["0".repeat(40)],
        author: Untrusted::new("Robin"),
        at: at(landed),
        subject: Untrusted::new(subject),
        body: Untrusted::default(),
        files: vec![FileChange {
            path: Untrusted::new(path),
            added: Some(count('+')),
            removed: Some(count('-')),
            diff: Untrusted::new(diff),
        }],
        files_left_out: 0,
        services: services.into_iter().collect(),
    }
}

pub(crate) const POOL_DIFF: &str =
    "@@ -3,3 +3,3 @@ [database]\n [database]\n-pool_size = 50\n+pool_size = 5\n timeout_ms = 500\n";

/// Numbers facts in the order given.
pub(crate) fn number(facts: Vec<Fact>) -> Vec<Evidence> {
    let facts = facts.into_iter().enumerate();
    facts
        .map(|(i, fact)| {
            let (source, query, summary, link) = described(&fact);
            let observation = Observation {
                source: source.to_owned(),
                query,
                window: Window::between(at(-1200), at(480)),
                cluster: None,
                summary,
                fact,
                link,
            };
            Evidence {
                id: EvidenceId(u32::try_from(i).unwrap() + 1),
                digest: observation.digest().unwrap(),
                observation,
            }
        })
        .collect()
}

fn described(fact: &Fact) -> (&'static str, String, String, Option<Untrusted>) {
    match fact {
        Fact::Alert { name, starts_at } => (
            "alertmanager",
            "webhook".to_owned(),
            format!("Alert {} fires since {starts_at}.", name.one_line(80)),
            Some(Untrusted::new(
                "http://prometheus.example:9090/graph?g0.expr=checkout_errors_ratio",
            )),
        ),
        Fact::Series(series) => (
            "observability-agent",
            series.name.expose().to_owned(),
            format!("{} of {}", series.role.label(), series.name.one_line(80)),
            Some(Untrusted::new(format!(
                "http://prometheus.example:9090/graph?g0.expr={}",
                series.name.expose()
            ))),
        ),
        Fact::Change(change) => (
            "git-agent",
            format!("git show {}", change.commit),
            format!(
                "Commit {} \"{}\"",
                change.short(),
                change.subject.one_line(80)
            ),
            None,
        ),
        Fact::NoChange { repository } => (
            "git-agent",
            "git log".to_owned(),
            format!("No commit in {repository} in the window."),
            None,
        ),
        Fact::Text { text } => (
            "cluster-agent",
            "status".to_owned(),
            text.one_line(200),
            None,
        ),
    }
}

pub(crate) fn alert() -> Fact {
    Fact::Alert {
        name: Untrusted::new("CheckoutErrorRateHigh"),
        starts_at: at(FIRED),
    }
}

fn symptoms() -> Vec<Fact> {
    use SeriesRole::{Alert, Errors, Latency, Saturation};
    let onset = Some(150);
    vec![
        alert(),
        Fact::Series(series(
            Alert,
            "checkout_errors_ratio",
            "ratio",
            (0.002, 0.31),
            Some(180),
        )),
        Fact::Series(series(
            Errors,
            "http_requests_failed_ratio",
            "ratio",
            (0.002, 0.31),
            Some(180),
        )),
        Fact::Series(series(
            Latency,
            "http_request_duration_p99",
            "s",
            (0.12, 2.4),
            onset,
        )),
        Fact::Series(series(
            Saturation,
            "db_pool_in_use_ratio",
            "ratio",
            (0.3, 1.0),
            onset,
        )),
    ]
}

/// Commits that broke nothing: documentation, unrelated code, and one after the onset.
pub(crate) fn innocents() -> Vec<Change> {
    vec![
        change(
            'b',
            -900,
            "Explain the deploy",
            "docs/deploy.md",
            "@@ -1 +1,2 @@\n # Deploy\n+Ask the pool for a connection first.\n",
        ),
        change(
            'c',
            -240,
            "Round prices",
            "services/checkout/price.go",
            "@@ -9,2 +9,2 @@ func round\n-\treturn p\n+\treturn math.Round(p)\n",
        ),
        change(
            'd',
            270,
            "Add a banner",
            "services/checkout/banner.go",
            "@@ -1 +1,2 @@\n package banner\n+const Text = \"spring sale\"\n",
        ),
    ]
}

/// The commit that empties the pool.
pub(crate) fn guilty() -> Change {
    change(
        'a',
        60,
        "Tidy the settings",
        "services/checkout/settings.toml",
        POOL_DIFF,
    )
}

/// A commit that lowers a pool, with four bystanders and steady traffic.
pub(crate) fn culprit() -> Vec<Evidence> {
    let mut facts = symptoms();
    facts.push(Fact::Series(series(
        SeriesRole::Traffic,
        "http_requests_rate",
        "1/s",
        (42.0, 42.0),
        None,
    )));
    facts.push(Fact::Change(guilty()));
    facts.extend(innocents().into_iter().map(Fact::Change));
    let catalog = "@@ -4,2 +4,2 @@ func list\n-\treturn all\n+\treturn sorted(all)\n";
    facts.push(Fact::Change(change(
        'f',
        -400,
        "Sort the list",
        "services/catalog/list.go",
        catalog,
    )));
    number(facts)
}

/// Four times the traffic, and the same bystanders.
pub(crate) fn surge() -> Vec<Evidence> {
    let mut facts = symptoms();
    facts.push(Fact::Series(series(
        SeriesRole::Traffic,
        "http_requests_rate",
        "1/s",
        (42.0, 168.0),
        Some(120),
    )));
    facts.extend(innocents().into_iter().map(Fact::Change));
    number(facts)
}

/// No metrics, and two commits that look alike.
pub(crate) fn unclear() -> (Vec<Evidence>, Vec<Gap>) {
    let facts = vec![
        alert(),
        Fact::Change(change(
            'c',
            -240,
            "Round prices",
            "services/catalog/price.go",
            "@@ -9,2 +9,2 @@ func round\n-\treturn p\n+\treturn math.Round(p)\n",
        )),
        Fact::Change(change(
            'e',
            -60,
            "Shorten names",
            "services/checkout/name.go",
            "@@ -9,2 +9,2 @@ func name\n-\treturn n\n+\treturn n[:8]\n",
        )),
    ];
    let gaps = vec![Gap {
        source: "observability-agent".to_owned(),
        what: "metrics around the onset".to_owned(),
        why: "prometheus did not answer within 20 s".to_owned(),
    }];
    (number(facts), gaps)
}
