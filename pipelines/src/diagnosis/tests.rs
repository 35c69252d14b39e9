use incident::{Cause, Change, Evidence, Fact, Series, SeriesRole, Untrusted};
use proptest::prelude::*;

use super::*;
use crate::sample::{self, at, change, innocents, number, series};

/// The verdict and what it stands behind.
fn check(evidence: &[Evidence], verdict: Verdict, leading: Option<&str>) -> Diagnosis {
    let diagnosis = diagnose(
        &sample::incident(),
        evidence,
        Vec::new(),
        &Config::default(),
    );
    let led = diagnosis.leading().map(|h| match &h.cause {
        Cause::Change { commit, .. } => commit.get(..1).unwrap().to_owned(),
        Cause::Load => "load".to_owned(),
        Cause::Saturation => "saturation".to_owned(),
        Cause::Outside => "outside".to_owned(),
    });
    assert_eq!(
        (diagnosis.verdict, led.as_deref()),
        (verdict, leading),
        "{diagnosis:#?}"
    );
    laws(evidence, &diagnosis);
    diagnosis
}

/// What holds for every diagnosis: reasons cite facts that exist, every commit is somewhere.
fn laws(evidence: &[Evidence], diagnosis: &Diagnosis) {
    let exists = |ids: &[incident::EvidenceId]| {
        !ids.is_empty() && ids.iter().all(|id| evidence.iter().any(|e| e.id == *id))
    };
    for hypothesis in &diagnosis.hypotheses {
        let reasons = hypothesis
            .reasons_for
            .iter()
            .chain(&hypothesis.reasons_against);
        for reason in reasons {
            assert!(exists(&reason.evidence), "{reason:?}");
        }
        assert!((0.0..=1.0).contains(&hypothesis.confidence));
    }
    for out in &diagnosis.ruled_out {
        assert!(exists(&out.evidence) && !out.why.is_empty(), "{out:?}");
    }
    for item in evidence {
        if let Fact::Change(change) = &item.observation.fact {
            let mentions = |entity: &str| entity.contains(change.short());
            let listed = diagnosis.hypotheses.iter().any(|h| mentions(&h.entity));
            let out = diagnosis.ruled_out.iter().any(|r| mentions(&r.entity));
            assert!(listed != out, "{} is in neither or both", change.short());
        }
    }
}

fn with_traffic(traffic: Series, changes: Vec<Change>) -> Vec<Evidence> {
    let mut facts: Vec<Fact> = sample::culprit()
        .into_iter()
        .map(|e| e.observation.fact)
        .filter(|fact| match fact {
            Fact::Change(_) => false,
            Fact::Series(series) => series.role != SeriesRole::Traffic,
            _ => true,
        })
        .collect();
    facts.push(Fact::Series(traffic));
    facts.extend(changes.into_iter().map(Fact::Change));
    number(facts)
}

fn steady() -> Series {
    series(
        SeriesRole::Traffic,
        "http_requests_rate",
        "1/s",
        (42.0, 42.0),
        None,
    )
}

#[test]
fn a_lowered_limit_before_the_onset_is_named() {
    let diagnosis = check(&sample::culprit(), Verdict::Likely, Some("a"));
    assert_eq!(diagnosis.onset, Some(at(150)));
    let leading = diagnosis.leading().unwrap();
    insta::assert_snapshot!(leading.mechanism, @"It lowers `pool_size` from 50 to 5 in services/checkout/settings.toml. There is less room, so it fills sooner and requests wait or fail.");
    let why: Vec<&str> = diagnosis.ruled_out.iter().map(|r| r.why.as_str()).collect();
    insta::assert_snapshot!(why.join("\n"), @r"
    Traffic stayed at about 42/s, so load does not explain it.
    It reaches other services only. It edits nothing that the alert or the metrics speak of.
    It changes only documentation.
    It landed 2 min after the onset.
    ");
}

#[test]
fn a_metric_that_shows_the_new_value_says_that_it_runs() {
    let pool = |from, to| {
        let name = "checkout_db_pool_size";
        let size = series(SeriesRole::Saturation, name, "", (from, to), Some(150));
        let mut facts = vec![Fact::Series(size)];
        facts.extend(sample::culprit().into_iter().map(|e| e.observation.fact));
        check(&number(facts), Verdict::Likely, Some("a"))
    };
    let shown = pool(50.0, 5.0);
    let runs: Vec<&str> = shown
        .leading()
        .unwrap()
        .reasons_for
        .iter()
        .map(|r| r.text.as_str())
        .collect();
    assert!(
        runs.contains(&"It runs: checkout_db_pool_size fell from 50 to 5 at 12:02:30 UTC."),
        "{runs:?}"
    );
    assert!(
        shown
            .next_checks
            .iter()
            .all(|c| !c.contains("version that runs"))
    );
    let other = pool(50.0, 20.0);
    assert!(
        other
            .leading()
            .unwrap()
            .reasons_for
            .iter()
            .all(|r| !r.text.starts_with("It runs"))
    );
    assert!(
        other
            .next_checks
            .iter()
            .any(|c| c.contains("version that runs"))
    );
}

#[test]
fn it_is_confirmed_when_every_other_change_is_ruled_out() {
    let inert = innocents().remove(0);
    let evidence = with_traffic(steady(), vec![sample::guilty(), inert]);
    check(&evidence, Verdict::Confirmed, Some("a"));
}

#[test]
fn a_surge_leads_when_no_change_moves_a_limit() {
    check(&sample::surge(), Verdict::Likely, Some("load"));
}

#[test]
fn a_surge_and_a_lowered_limit_at_once_are_not_told_apart() {
    let traffic = series(
        SeriesRole::Traffic,
        "http_requests_rate",
        "1/s",
        (42.0, 168.0),
        Some(120),
    );
    check(
        &with_traffic(traffic, vec![sample::guilty()]),
        Verdict::Inconclusive,
        None,
    );
}

#[test]
fn traffic_that_rises_after_the_onset_is_no_cause() {
    let retries = series(
        SeriesRole::Traffic,
        "http_requests_rate",
        "1/s",
        (42.0, 168.0),
        Some(400),
    );
    let diagnosis = check(
        &with_traffic(retries, vec![sample::guilty()]),
        Verdict::Confirmed,
        Some("a"),
    );
    assert!(diagnosis.ruled_out.iter().any(|r| r.entity == "load"));
}

#[test]
fn bystanders_alone_are_not_named() {
    check(
        &with_traffic(steady(), innocents()),
        Verdict::Inconclusive,
        None,
    );
}

#[test]
fn the_same_change_after_the_onset_is_not_named() {
    let mut late = sample::guilty();
    late.at = at(260);
    check(
        &with_traffic(steady(), vec![late]),
        Verdict::Inconclusive,
        None,
    );
}

#[test]
fn a_change_that_was_taken_back_in_time_is_not_named() {
    let mut guilty = sample::guilty();
    guilty.at = at(-400);
    let back = "@@ -3,3 +3,3 @@ [database]\n [database]\n-pool_size = 5\n+pool_size = 50\n timeout_ms = 500\n";
    let undo = change(
        'f',
        -300,
        "Put it back",
        "services/checkout/settings.toml",
        back,
    );
    check(
        &with_traffic(steady(), vec![guilty, undo]),
        Verdict::Inconclusive,
        None,
    );
}

#[test]
fn a_resource_that_fills_by_itself_is_named() {
    let facts = vec![
        sample::alert(),
        Fact::Series(series(
            SeriesRole::Saturation,
            "disk_used_ratio",
            "ratio",
            (0.6, 0.99),
            Some(0),
        )),
        Fact::Series(series(
            SeriesRole::Errors,
            "write_errors_rate",
            "1/s",
            (0.0, 4.0),
            Some(200),
        )),
        Fact::Series(steady()),
        Fact::NoChange {
            repository: "shop".to_owned(),
        },
    ];
    check(&number(facts), Verdict::Likely, Some("saturation"));
}

#[test]
fn nothing_at_all_is_inconclusive() {
    check(&[], Verdict::Inconclusive, None);
    let (evidence, _) = sample::unclear();
    check(&evidence, Verdict::Inconclusive, None);
}

#[test]
fn an_incident_that_recovered_without_a_trace_is_no_fault() {
    let mut incident = sample::incident();
    incident.status = IncidentStatus::Resolved;
    let still = series(
        SeriesRole::Errors,
        "http_requests_failed_ratio",
        "ratio",
        (0.002, 0.002),
        None,
    );
    let evidence = number(vec![
        sample::alert(),
        Fact::Series(still),
        Fact::Change(sample::guilty()),
    ]);
    let diagnosis = diagnose(&incident, &evidence, Vec::new(), &Config::default());
    assert_eq!(diagnosis.verdict, Verdict::NoFault);
}

#[test]
fn a_series_that_moved_long_before_does_not_set_the_onset() {
    let mut facts: Vec<Fact> = sample::culprit()
        .into_iter()
        .map(|e| e.observation.fact)
        .collect();
    facts.push(Fact::Series(series(
        SeriesRole::Saturation,
        "disk",
        "ratio",
        (0.1, 0.2),
        Some(-7200),
    )));
    assert_eq!(
        check(&number(facts), Verdict::Likely, Some("a")).onset,
        Some(at(150))
    );
}

#[test]
fn the_configuration_says_what_cannot_work() {
    let mut problems = Vec::new();
    Config::default().check("diagnosis", &mut problems);
    assert_eq!(problems, []);
    let bad = Config {
        likely_min: 1.5,
        lead_min: f64::NAN,
        hypotheses_max: 0,
        ..Config::default()
    };
    bad.check("diagnosis", &mut problems);
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "diagnosis.likely_min",
            "diagnosis.confirmed_min",
            "diagnosis.lead_min",
            "diagnosis.hypotheses_max"
        ]
    );
}

/// A bystander: another service, words that no symptom has.
fn bystander(digit: char, landed: i64, word: &str) -> Change {
    let path = format!("services/{word}x/{word}.go");
    change(
        digit,
        landed,
        "Work",
        &path,
        &format!("@@ -1 +1 @@\n-\t{word}()\n+\tz{word}()\n"),
    )
}

fn renamed(evidence: &[Evidence], from: &str, to: &str) -> Vec<Evidence> {
    let text = serde_json::to_string(evidence).unwrap();
    serde_json::from_str(&text.replace(from, to)).unwrap()
}

/// What a diagnosis says without names.
fn essence(diagnosis: &Diagnosis) -> Vec<(String, String)> {
    let hypotheses = diagnosis.hypotheses.iter();
    hypotheses
        .map(|h| (format!("{:?}", h.cause), format!("{:.9}", h.confidence)))
        .collect()
}

proptest! {
    #[test]
    fn the_order_of_evidence_does_not_matter(seed in any::<u64>()) {
        let evidence = sample::culprit();
        let mut mixed = evidence.clone();
        mixed.sort_by_key(|e| (u64::from(e.id.0) + 1).wrapping_mul(seed | 1).rotate_left(17));
        let (incident, config) = (sample::incident(), Config::default());
        prop_assert_eq!(
            diagnose(&incident, &evidence, Vec::new(), &config),
            diagnose(&incident, &mixed, Vec::new(), &config)
        );
    }

    #[test]
    fn names_of_services_do_not_matter(name in "[xyzqj]{5,9}", shop in any::<bool>()) {
        let from = if shop { "catalog" } else { "checkout" };
        let (evidence, config) = (sample::culprit(), Config::default());
        let text = serde_json::to_string(&sample::incident()).unwrap();
        let capital = |w: &str| w.chars().next().unwrap().to_uppercase().chain(w.chars().skip(1)).collect::<String>();
        let swap = |t: &str| t.replace(from, &name).replace(&capital(from), &capital(&name));
        let incident: Incident = serde_json::from_str(&swap(&text)).unwrap();
        let renamed_evidence = renamed(&renamed(&evidence, from, &name), &capital(from), &capital(&name));
        let before = diagnose(&sample::incident(), &evidence, Vec::new(), &config);
        let after = diagnose(&incident, &renamed_evidence, Vec::new(), &config);
        prop_assert_eq!(before.verdict, after.verdict);
        prop_assert_eq!(essence(&before), essence(&after));
    }

    #[test]
    fn an_innocent_commit_does_not_change_the_culprit(
        word in "[qzxj]{4,8}", landed in -3000_i64..800, many in 1_usize..4
    ) {
        let mut facts: Vec<Fact> = sample::culprit().into_iter().map(|e| e.observation.fact).collect();
        for (i, digit) in ['1', '2', '3'].into_iter().take(many).enumerate() {
            let step = i64::try_from(i).unwrap();
            facts.push(Fact::Change(bystander(digit, landed + step, &word)));
        }
        let evidence = number(facts);
        let found = diagnose(&sample::incident(), &evidence, Vec::new(), &Config::default());
        laws(&evidence, &found);
        let culprit = found.culprit().map(|(_, commit, _)| commit.to_owned());
        prop_assert_eq!(culprit, Some("a".repeat(40)));
    }

    #[test]
    fn no_diff_and_no_text_makes_it_panic(diff in any::<String>(), path in any::<String>(), text in any::<String>()) {
        let mut hostile = change('9', 100, "x", &path, &diff);
        hostile.files[0].added = None;
        let facts = vec![
            sample::alert(),
            Fact::Change(hostile),
            Fact::Text { text: Untrusted::new(text) },
        ];
        let evidence = number(facts);
        let found = diagnose(&sample::incident(), &evidence, Vec::new(), &Config::default());
        laws(&evidence, &found);
    }
}
