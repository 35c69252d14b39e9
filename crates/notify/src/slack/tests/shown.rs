//! What is shown: the blocks as snapshots, their limits, and what hostile text becomes.

use std::collections::{BTreeMap, BTreeSet};

use incident::diagnosis::{Cause, Diagnosis, Hypothesis, Reason, RuledOut, Verdict};
use incident::evidence::{EvidenceId, Gap};
use incident::incident::{Incident, IncidentStatus, Member, Subject};
use incident::ports::{Notice, NoticeKind};
use incident::proposal::{ChangeKind, ChangeRequest, DraftPr, DraftState, Preview, Proposal};
use incident::report::{ChangeOutcome, Claim, Report};
use incident::{AlertStatus, Fingerprint, IncidentId, Severity};
use jiff::Timestamp;
use serde_json::Value;

use crate::slack::blocks::{BLOCKS_MAX, SECTION_MAX, TOTAL_MAX};
use crate::slack::layout;
use crate::slack::text::units;

pub(super) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + minute * 60).unwrap()
}

fn id() -> IncidentId {
    IncidentId::parse("inc-0123456789ab").unwrap()
}

fn subject() -> Subject {
    Subject {
        kind: "service".to_owned(),
        name: "cart".into(),
        namespace: Some("shop".into()),
        cluster: None,
    }
}

fn claim(text: &str, ids: &[u32]) -> Claim {
    Claim {
        text: text.to_owned(),
        evidence: ids.iter().map(|n| EvidenceId(*n)).collect(),
    }
}

fn proposal() -> Proposal {
    let diff = "diff --git a/cart/pool.toml b/cart/pool.toml\nindex 1..2 100644\n--- a/cart/pool.toml\n\
                +++ b/cart/pool.toml\n@@ -1,3 +1,3 @@\n [pool]\n-max = 5 # ``` <!channel>\n+max = 50\n";
    Proposal {
        request: ChangeRequest {
            incident: id(),
            kind: ChangeKind::Revert,
            repository: "shop".to_owned(),
            commit: "a".repeat(40),
        },
        preview: Preview {
            base: "main".to_owned(),
            base_commit: "b".repeat(40),
            diff: diff.to_owned(),
            files: vec![],
            lines: 2,
        },
        title: "Revert \"Lower pool size\"".to_owned(),
        body: String::new(),
        evidence: vec![EvidenceId(4)],
        risk: "Memory use of cart returns to what it was".to_owned(),
        undo: "Revert the draft's commit".to_owned(),
    }
}

pub(super) fn report() -> Report {
    let hypothesis = Hypothesis {
        entity: "commit aaaaaaaaaa \"Lower pool size\" in shop".to_owned(),
        mechanism: "fewer connections than requests".to_owned(),
        cause: Cause::Change {
            repository: "shop".to_owned(),
            commit: "a".repeat(40),
            evidence: EvidenceId(4),
        },
        reasons_for: vec![],
        reasons_against: vec![Reason {
            text: "Traffic rose by a tenth as well".to_owned(),
            evidence: vec![EvidenceId(3)],
            weight: -0.3,
        }],
        confidence: 0.83,
    };
    Report {
        version: incident::report::VERSION,
        incident: id(),
        title: "CartErrors on shop/cart".to_owned(),
        subject: subject(),
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        alerts: 2,
        started_at: at(0),
        resolved_at: None,
        impact: vec![claim(
            "Errors rose from 0.1 % to 31 % at 20:27:10 UTC",
            &[1],
        )],
        cause: vec![claim(
            "Commit aaaaaaaaaa lowered the pool from 50 to 5, 90 s before the onset",
            &[4, 1],
        )],
        diagnosis: Diagnosis {
            verdict: Verdict::Likely,
            hypotheses: vec![hypothesis],
            ruled_out: vec![RuledOut {
                entity: "commit bbbbbbbbbb \"Say more\" in shop".to_owned(),
                why: "it touches no service".to_owned(),
                evidence: vec![EvidenceId(5)],
            }],
            gaps: vec![Gap {
                source: "git-agent".to_owned(),
                what: "changes of bank".to_owned(),
                why: "unreachable".to_owned(),
            }],
            next_checks: vec![],
            onset: Some(at(0)),
        },
        timeline: vec![],
        next_steps: vec![
            "Read the diff and approve it".to_owned(),
            "Watch the error rate".to_owned(),
        ],
        change: ChangeOutcome::AwaitingApproval {
            proposal: proposal(),
        },
        evidence: vec![],
        partial: false,
        model: None,
        written_at: at(7),
    }
}

pub(super) fn incident() -> Incident {
    let member = Member {
        status: AlertStatus::Firing,
        alert: "CartErrors <!here>".into(),
        severity: Severity::Warning,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generator_url: "".into(),
        starts_at: at(0),
        ends_at: None,
    };
    Incident {
        id: id(),
        correlation: "c".to_owned(),
        subject: subject(),
        severity: Severity::Warning,
        status: IncidentStatus::Open,
        members: BTreeMap::from([(Fingerprint::from_stored("0123456789abcdef"), member)]),
        members_left_out: 0,
        groups: BTreeSet::new(),
        truncated: 0,
        started_at: at(0),
        opened_at: at(0),
        resolved_at: None,
        generation: 0,
    }
}

pub(super) fn notice(kind: NoticeKind) -> Notice {
    Notice {
        kind,
        revision: 1,
        maybe_repeat: false,
    }
}

/// The fallback text and the text of every block, one after the other; checks the limits on the way.
pub(super) fn shown(body: &Value) -> String {
    let blocks = body["blocks"].as_array().unwrap();
    assert!(!blocks.is_empty() && blocks.len() <= BLOCKS_MAX);
    let mut out = vec![format!("[text] {}", body["text"].as_str().unwrap())];
    let mut total = 0;
    for block in blocks {
        let kind = block["type"].as_str().unwrap();
        let text = if kind == "section" {
            &block["text"]
        } else {
            &block["elements"][0]
        };
        assert_eq!(
            (text["type"].as_str(), text["verbatim"].as_bool()),
            (Some("mrkdwn"), Some(true))
        );
        let text = text["text"].as_str().unwrap();
        assert!((1..=SECTION_MAX).contains(&units(text)));
        total += units(text);
        out.push(format!("[{kind}] {text}"));
    }
    assert!(total <= TOTAL_MAX, "{total}");
    out.join("\n").replace('\u{2060}', "")
}

#[test]
fn an_opening_is_short() {
    let body = layout::message(&notice(NoticeKind::Opened(incident())), false);
    insta::assert_snapshot!(shown(&body), @"
    [text] 🟠 warning: CartErrors &lt;!here&gt; on shop/cart
    [section] 🟠 *WARNING* CartErrors &lt;!here&gt; on shop/cart
    1 alert firing since 2026-05-28 20:26 UTC. Being looked into; a report follows.
    [context] inc-0123456789ab
    ");
}

#[test]
fn a_report_reads_from_the_top() {
    let body = layout::message(&notice(NoticeKind::Report(report())), false);
    insta::assert_snapshot!(shown(&body), @r#"
    [text] 🔴 critical, open: CartErrors on shop/cart. Likely cause: commit aaaaaaaaaa "Lower pool size" in shop (83 %)
    [section] 🔴 *CRITICAL, open* CartErrors on shop/cart. Likely cause: commit aaaaaaaaaa "Lower pool size" in shop (83 %)
    For 7 min, 2 alerts, since 2026-05-28 20:26 UTC
    [section] *Impact*
    • Errors rose from 0.1 % to 31 % at 20:27:10 UTC (E1)
    [section] *Why*
    • Commit aaaaaaaaaa lowered the pool from 50 to 5, 90 s before the onset (E4, E1)
    [section] *Proposed change* Revert "Lower pool size" waits for you
    Open it as a draft: `nightshift approve inc-0123456789ab`
    Turn it down: `nightshift reject inc-0123456789ab`
    Risk: Memory use of cart returns to what it was
    Undo: Revert the draft's commit
    [section] *Next*
    1. Read the diff and approve it
    2. Watch the error rate
    [section] ```
    --- a/cart/pool.toml
    +++ b/cart/pool.toml
    @@ -1,3 +1,3 @@
     [pool]
    -max = 5 # ˋˋˋ &lt;!channel&gt;
    +max = 50
    ```
    [context] inc-0123456789ab, no model, plain code, written 2026-05-28 20:33 UTC
    Not known: changes of bank (unreachable)
    "#);
    insta::assert_json_snapshot!("report_blocks", body);
}

#[test]
fn a_possible_repeat_says_so_first_in_the_small_print() {
    for kind in [
        NoticeKind::Opened(incident()),
        NoticeKind::Report(report()),
        NoticeKind::Closed(report()),
    ] {
        let mut notice = notice(kind);
        let plain = notice.key();
        notice.maybe_repeat = true;
        assert_eq!(notice.key(), plain, "it is the same message");
        let text = shown(&layout::message(&notice, false));
        let small = text.split("[context] ").nth(1).unwrap();
        assert!(small.starts_with("You may see this twice"), "{small}");
    }
}

#[test]
fn a_report_without_a_cause_says_so() {
    let mut report = report();
    report.diagnosis.verdict = Verdict::Inconclusive;
    report.cause = vec![];
    report.impact = vec![];
    report.partial = true;
    report.change = ChangeOutcome::None {
        why: "no commit fits".to_owned(),
    };
    report.model = Some("some-model".to_owned());
    let body = layout::message(&notice(NoticeKind::Report(report)), true);
    insta::assert_snapshot!(shown(&body), @r"
    [text] 🔴 critical, open: CartErrors on shop/cart. Cause unknown
    [section] 🔴 *CRITICAL, open* (update) CartErrors on shop/cart. Cause unknown
    For 7 min, 2 alerts, since 2026-05-28 20:26 UTC, *partial: the deadline cut it short*
    [section] *Impact*
    • nothing could be measured
    [section] *Cause*
    • I do not know
    [section] *Proposed change* none: no commit fits
    [section] *Next*
    1. Read the diff and approve it
    2. Watch the error rate
    [context] inc-0123456789ab, with model some-model, written 2026-05-28 20:33 UTC
    Not known: changes of bank (unreachable)
    ");
}

#[test]
fn a_closing_names_the_draft_that_is_left() {
    let mut report = report();
    report.status = IncidentStatus::Resolved;
    report.resolved_at = Some(at(95));
    let proposal = proposal();
    let draft = DraftPr {
        key: proposal.request.key(),
        repository: "shop".to_owned(),
        branch: proposal.request.branch(),
        base: "main".to_owned(),
        commit: "c".repeat(40),
        title: proposal.title.clone(),
        body: String::new(),
        diff: proposal.preview.diff.clone(),
        state: DraftState::Draft,
        url: None,
        approved_by: Some("ada".to_owned()),
        opened_at: at(9),
    };
    report.change = ChangeOutcome::Opened { proposal, draft };
    let open = layout::message(&notice(NoticeKind::Report(report.clone())), true);
    assert!(shown(&open).contains("of shop, approved by ada"));
    let body = layout::message(&notice(NoticeKind::Closed(report)), true);
    insta::assert_snapshot!(shown(&body), @r#"
    [text] ✅ critical, resolved: CartErrors on shop/cart. Likely cause: commit aaaaaaaaaa "Lower pool size" in shop (83 %)
    [section] ✅ *RESOLVED (critical)* CartErrors on shop/cart. Likely cause: commit aaaaaaaaaa "Lower pool size" in shop (83 %)
    After 1 h 35 min, 2 alerts, since 2026-05-28 20:26 UTC
    [section] *Why*
    • Commit aaaaaaaaaa lowered the pool from 50 to 5, 90 s before the onset (E4, E1)
    [section] *Draft* agent/inc-0123456789ab/revert-da4ffe74: if nobody merged it, decide whether it is still wanted.
    [context] inc-0123456789ab, no model, plain code, written 2026-05-28 20:33 UTC
    Not known: changes of bank (unreachable)
    "#);
}

#[test]
fn the_worst_report_stays_within_the_limits_and_pings_nobody() {
    let evil = "<!channel> @here <https://evil.example/x|ok> ```*x* &".repeat(40);
    let mut report = report();
    report.title.clone_from(&evil);
    report.subject.name = evil.clone().into();
    report.impact = vec![claim(&evil, &[1; 50]); 50];
    report.cause = vec![claim(&evil, &[1; 50]); 50];
    report.diagnosis.ruled_out = vec![
        RuledOut {
            entity: evil.clone(),
            why: evil.clone(),
            evidence: vec![EvidenceId(1); 40]
        };
        60
    ];
    report.diagnosis.gaps = vec![
        Gap {
            source: evil.clone(),
            what: evil.clone(),
            why: evil.clone()
        };
        60
    ];
    report.diagnosis.hypotheses[0].reasons_against = vec![
        Reason {
            text: evil.clone(),
            evidence: vec![EvidenceId(1); 40],
            weight: -1.0
        };
        60
    ];
    report.next_steps = vec![evil.clone(); 40];
    let mut proposal = proposal();
    proposal.preview.diff = format!("+{evil}\n").repeat(500);
    proposal.title.clone_from(&evil);
    proposal.risk.clone_from(&evil);
    report.change = ChangeOutcome::AwaitingApproval { proposal };
    for body in [
        layout::message(&notice(NoticeKind::Report(report.clone())), true),
        layout::message(&notice(NoticeKind::Closed(report)), false),
    ] {
        let text = shown(&body);
        assert!(text.lines().last().unwrap().starts_with("Not known:"));
        let asked = text.contains("`nightshift approve inc-0123456789ab`");
        assert_eq!(asked, text.contains("```"));
        assert!(asked || text.contains("never approved"));
        let sent = body.to_string();
        for token in ["<!", "<@", "<#", "<http", "@here", "://"] {
            assert!(!sent.contains(token), "{token}");
        }
    }
}
