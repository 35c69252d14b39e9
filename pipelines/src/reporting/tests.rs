use incident::proposal::{ChangeKind, ChangeRequest, Preview};
use incident::report::ChangeOutcome;
use incident::{Evidence, Fact, Incident, IncidentStatus, Proposal, Report, SeriesRole};

use super::*;
use crate::diagnosis::{Config, diagnose};
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
    assert!(
        report
            .timeline
            .iter()
            .all(|m| m.evidence.is_none_or(|id| exists(&id)))
    );
    assert!(report.timeline.is_sorted_by_key(|m| m.at));
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
    insta::assert_snapshot!(texts(&report.impact), @r"
    Errors (failed) rose from 0 % to 40 % since 12:03:20 UTC.
    1 alert fires on shop/checkout since 12:05:00 UTC, 1.5 min after the onset.
    ");
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
    insta::assert_snapshot!(built_on.risk, @r#"It takes back everything that commit aaaaaaaaaa did: 2 lines in 1 file. 1 later commit touched the same files since and may rely on it: 7777777777 "Go on"."#);
    insta::assert_snapshot!(built_on.title, @r#"Revert "Tidy the settings" (aaaaaaaaaa)"#);
    assert!(built_on.evidence.contains(&EvidenceId(7)));
}
