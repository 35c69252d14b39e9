use incident::proposal::{ChangeKind, ChangeRequest, Preview};
use incident::report::ChangeOutcome;
use incident::{Evidence, Fact, Incident, IncidentStatus, Proposal, Report, SeriesRole};

use super::*;
use crate::diagnosis::{Config, diagnose};
use crate::phrase;
use crate::sample::{self, at, change, number, series};

fn report(incident: &Incident, evidence: Vec<Evidence>) -> Report {
    let diagnosis = diagnose(incident, &evidence, Vec::new(), &Config::default());
    let report = compose(Inputs {
        incident,
        diagnosis,
        evidence,
        change: ChangeOutcome::None {
            why: "no change is named as the cause".to_owned(),
        },
        moments: Vec::new(),
        partial: false,
        written_at: at(600),
    });
    laws(&report);
    report
}

/// Every claim and moment rests on facts that the report has, and time runs forward.
fn laws(report: &Report) {
    let exists = |id: &EvidenceId| report.evidence.iter().any(|e| e.id == *id);
    for claim in report.impact.iter().chain(&report.cause) {
        assert!(
            !claim.evidence.is_empty() && claim.evidence.iter().all(exists),
            "{claim:?}"
        );
        assert!(claim.text.ends_with('.'), "{claim:?}");
    }
    numbers(report);
    assert!(
        report
            .timeline
            .iter()
            .all(|m| m.evidence.is_none_or(|id| exists(&id)))
    );
    assert!(report.timeline.is_sorted_by_key(|m| m.at));
}

/// Everything that the cited facts say with a digit in it, as a sentence would say it.
fn said_by(report: &Report, ids: &[EvidenceId]) -> String {
    let cited = report.evidence.iter().filter(|e| ids.contains(&e.id));
    let mut said = vec![report.diagnosis.ruled_out.len().to_string()];
    let units = ["ratio", ""];
    for item in cited {
        match &item.observation.fact {
            Fact::Series(s) => {
                let values = [s.before, s.after, s.threshold];
                for unit in units.iter().chain([&s.unit.as_str()]) {
                    said.extend(values.iter().flatten().map(|v| phrase::quantity(*v, unit)));
                }
                said.extend(s.factor().map(phrase::times));
                said.extend(s.onset.map(phrase::clock));
                said.push(s.name.expose().to_owned());
            }
            Fact::Change(change) => {
                let onset = report.diagnosis.onset.unwrap_or(report.started_at);
                said.push(change.short().to_owned());
                said.push(phrase::length(onset.duration_since(change.at)));
                said.push(change.subject.expose().to_owned());
                for file in &change.files {
                    said.push(file.path.expose().to_owned());
                    said.push(file.diff.expose().to_owned());
                }
            }
            Fact::Alert { name, starts_at } => {
                said.push(format!("{} {}", name.expose(), phrase::clock(*starts_at)));
            }
            Fact::NoChange { .. } | Fact::Text { .. } => {}
        }
    }
    said.join("\n")
}

/// Every number of a claim is one of the facts that it cites.
fn numbers(report: &Report) {
    let own = [
        "alert fires",
        "resolved",
        "candidate at",
        "metrics that were",
    ];
    for claim in report.impact.iter().chain(&report.cause) {
        if own.iter().any(|text| claim.text.contains(text)) {
            continue;
        }
        let said = said_by(report, &claim.evidence);
        for word in claim.text.split([' ', ',', ';', '(', ')', '`', '"']) {
            let word = word.trim_end_matches(['.', ':']);
            assert!(
                !word.contains(|c: char| c.is_ascii_digit()) || said.contains(word),
                "{word} of {claim:?} is not in {said}"
            );
        }
    }
}

#[test]
fn every_number_is_one_of_the_cited_facts() {
    for evidence in [sample::culprit(), sample::surge(), sample::unclear().0] {
        let report = report(&sample::incident(), evidence);
        assert!(!report.impact.is_empty() && !report.cause.is_empty());
    }
}

/// A failure series that does not exist before the first failure.
fn began(role: SeriesRole, name: &str, unit: &str, onset: i64) -> Fact {
    let mut began = series(role, name, unit, (0.0, 25.0), Some(onset));
    began.points.retain(|(when, _)| *when >= at(onset));
    began.before = None;
    Fact::Series(began)
}

#[test]
fn a_series_that_began_has_no_before() {
    let guilty = Fact::Change(sample::guilty());
    let full = began(SeriesRole::Saturation, "queue_depth", "", 150);
    let traffic = began(SeriesRole::Traffic, "requests", "1/s", 150);
    let errors = began(
        SeriesRole::Errors,
        "error rate (requests_total with failing code)",
        "1/s",
        120,
    );
    let report = report(
        &sample::incident(),
        number(vec![sample::alert(), errors, full, traffic, guilty]),
    );
    insta::assert_snapshot!(texts(&report.impact), @r"
    Error rate began at 12:02:00 UTC and is at 25/s, with no samples before.
    Saturation: queue_depth began at 12:02:30 UTC and is at 25, with no samples before.
    ");
    insta::assert_snapshot!(texts(&report.cause), @r"
    Commit aaaaaaaaaa lowers `pool_size` from 50 to 5 in services/checkout/settings.toml. There is less room, so it fills sooner and requests wait or fail.
    It landed 60 s before the onset and reaches the alert's service.
    Against it: it edits nothing that the alert or the metrics speak of.
    ");
    let moments: Vec<&str> = report.timeline.iter().map(|m| m.text.as_str()).collect();
    insta::assert_snapshot!(moments.join("\n"), @r#"
    Commit aaaaaaaaaa landed in shop: "Tidy the settings".
    Onset: errors begin.
    Alert CheckoutErrorRateHigh began to fire, 3 min after the onset.
    This report was written.
    "#);
    assert!(
        report
            .diagnosis
            .ruled_out
            .iter()
            .all(|r| r.entity != "load")
    );
    let page = crate::render::terminal(&report, &crate::render::TerminalStyle::default());
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("Evidence"));
    insta::assert_snapshot!(rows.take(5).collect::<Vec<_>>().join("\n"), @r#"
    Evidence (times in UTC)
      E1  CheckoutErrorRateHigh fires since 12:05:00
      E2  error rate (requests_total with failing code): none, 25/s from 12:02:00
      E3  queue_depth: none, 25 from 12:02:30
      E5  aaaaaaaaaa at 12:01:00 by Robin: "Tidy the settings"
    "#);
    for form in [
        page.clone(),
        crate::render::markdown(&report),
        crate::render::html(&report),
    ] {
        assert!(!form.contains("from  ") && !form.contains("None,") && !form.contains("NaN"));
    }
}

#[test]
fn a_pool_that_fills_by_itself_without_a_before() {
    let full = began(SeriesRole::Saturation, "queue_depth", "", 0);
    let steady = series(SeriesRole::Traffic, "requests", "1/s", (42.0, 42.0), None);
    let quiet = Fact::NoChange {
        repository: "shop".to_owned(),
    };
    let facts = vec![sample::alert(), full, Fact::Series(steady), quiet];
    let report = report(&sample::incident(), number(facts));
    insta::assert_snapshot!(texts(&report.cause), @r"
    Saturation of queue_depth: a resource ran full, and what needs it waits or fails.
    Neither a change nor more traffic explains it.
    It has had samples, of 25, only since before anything else moved.
    Nothing speaks against it; 1 other is ruled out.
    ");
}

fn texts(claims: &[Claim]) -> String {
    let texts: Vec<&str> = claims.iter().map(|c| c.text.as_str()).collect();
    texts.join("\n")
}

#[test]
fn without_evidence_nothing_is_claimed() {
    let report = report(&sample::incident(), Vec::new());
    assert_eq!((report.impact, report.cause), (Vec::new(), Vec::new()));
}

#[test]
fn a_recovery_is_told_as_one() {
    let mut incident = sample::incident();
    incident.status = IncidentStatus::Resolved;
    incident.resolved_at = Some(at(540));
    let still = series(SeriesRole::Errors, "failed", "ratio", (0.002, 0.002), None);
    let report = report(
        &incident,
        number(vec![sample::alert(), Fact::Series(still)]),
    );
    insta::assert_snapshot!(texts(&report.impact), @r"
    The one metric that was looked at did not move.
    The alerts on shop/checkout resolved at 12:09:00 UTC, after 4 min.
    ");
    insta::assert_snapshot!(texts(&report.cause), @"No active failure: the alert recovered and nothing that was measured moved.");
}

#[test]
fn a_window_without_a_commit_is_told_as_one() {
    let quiet = Fact::NoChange {
        repository: "shop".to_owned(),
    };
    let errors = series(SeriesRole::Errors, "failed", "ratio", (0.0, 0.4), Some(200));
    let facts = vec![sample::alert(), Fact::Series(errors), quiet];
    let report = report(&sample::incident(), number(facts));
    insta::assert_snapshot!(texts(&report.impact), @"Errors: failed rose from 0 % to 40 % since 12:03:20 UTC.");
    insta::assert_snapshot!(texts(&report.cause), @"I do not know the cause: no change in the window explains this.");
}

fn proposed(later: &[(char, &str)]) -> Proposal {
    let incident = sample::incident();
    let mut facts: Vec<Fact> = sample::culprit()
        .into_iter()
        .map(|e| e.observation.fact)
        .collect();
    for (digit, path) in later {
        facts.push(Fact::Change(change(
            *digit,
            500,
            "Go on",
            path,
            "@@ -9 +9 @@\n-a\n+b\n",
        )));
    }
    let evidence = number(facts);
    let diagnosis = diagnose(&incident, &evidence, Vec::new(), &Config::default());
    let request = ChangeRequest {
        incident: incident.id.clone(),
        kind: ChangeKind::Revert,
        repository: "shop".to_owned(),
        commit: "a".repeat(40),
    };
    let preview = Preview {
        base: "main".to_owned(),
        base_commit: "9".repeat(40),
        diff: String::new(),
        files: vec!["services/checkout/settings.toml".to_owned()],
        lines: 2,
    };
    proposal(&incident, &diagnosis, &evidence, request, preview)
}

#[test]
fn the_risk_names_later_commits_to_the_same_files() {
    let plain = proposed(&[('7', "services/checkout/other.toml")]);
    assert!(plain.risk.contains("No later commit"), "{}", plain.risk);
    let built_on = proposed(&[('7', "services/checkout/settings.toml")]);
    insta::assert_snapshot!(built_on.risk, @r#"It takes back aaaaaaaaaa: 2 lines in 1 file. 1 later commit touched the same files since and may rely on it: 7777777777 "Go on"."#);
    insta::assert_snapshot!(built_on.title, @r#"Revert "Tidy the settings" (aaaaaaaaaa)"#);
    assert!(built_on.evidence.contains(&EvidenceId(7)));
}
