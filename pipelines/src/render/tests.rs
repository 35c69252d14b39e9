use std::collections::BTreeMap;

use incident::proposal::{ChangeKind, ChangeRequest, Preview};
use incident::report::{ChangeOutcome, Moment};
use incident::{Evidence, Fact, Gap, Report, SeriesRole};

use super::*;
use crate::diagnosis::{Config, diagnose};
use crate::reporting::{self, Inputs};
use crate::sample::{self, at};

fn report(evidence: Vec<Evidence>, gaps: Vec<Gap>) -> Report {
    let incident = sample::incident();
    let partial = !gaps.is_empty();
    let diagnosis = diagnose(&incident, &evidence, gaps, &Config::default());
    let change = match diagnosis.culprit() {
        Some((repository, commit, _)) => {
            let request = ChangeRequest {
                incident: incident.id.clone(),
                kind: ChangeKind::Revert,
                repository: repository.to_owned(),
                commit: commit.to_owned(),
            };
            let proposal =
                reporting::proposal(&incident, &diagnosis, &evidence, request, preview());
            ChangeOutcome::AwaitingApproval { proposal }
        }
        None => ChangeOutcome::None {
            why: "no change is named as the cause".to_owned(),
        },
    };
    reporting::compose(Inputs {
        incident: &incident,
        diagnosis,
        evidence,
        change,
        moments: vec![Moment {
            at: at(320),
            text: "On call was told.".to_owned(),
            evidence: None,
        }],
        partial,
        written_at: at(380),
    })
}

pub(super) fn preview() -> Preview {
    Preview {
        base: "main".to_owned(),
        base_commit: "9".repeat(40),
        diff: "diff --git a/services/checkout/settings.toml b/services/checkout/settings.toml\nindex 1111111..2222222 100644\n--- a/services/checkout/settings.toml\n+++ b/services/checkout/settings.toml\n@@ -3,3 +3,3 @@ [database]\n [database]\n-pool_size = 5\n+pool_size = 50\n timeout_ms = 500\n".to_owned(),
        files: vec!["services/checkout/settings.toml".to_owned()],
        lines: 2,
    }
}

fn culprit() -> Report {
    report(sample::culprit(), Vec::new())
}

fn surge() -> Report {
    report(sample::surge(), Vec::new())
}

fn unclear() -> Report {
    let (evidence, gaps) = sample::unclear();
    report(evidence, gaps)
}

#[test]
fn terminal_and_markdown_forms() {
    let style = TerminalStyle::default();
    let reports = [
        ("culprit", culprit()),
        ("surge", surge()),
        ("unclear", unclear()),
    ];
    for (name, report) in reports {
        insta::assert_snapshot!(format!("terminal_{name}"), terminal(&report, &style));
        insta::assert_snapshot!(format!("markdown_{name}"), markdown(&report));
    }
}

#[test]
fn the_body_of_a_pull_request() {
    let ChangeOutcome::AwaitingApproval { proposal } = culprit().change else {
        panic!("a culprit is proposed to be reverted");
    };
    insta::assert_snapshot!(proposal.title, @r#"Revert "Tidy the settings" (aaaaaaaaaa)"#);
    insta::assert_snapshot!("pull_request", proposal.body);
}

#[test]
fn the_terminal_form_fits() {
    for (width, report) in [
        (80, culprit()),
        (80, surge()),
        (40, unclear()),
        (3, culprit()),
    ] {
        let page = terminal(
            &report,
            &TerminalStyle {
                color: false,
                width,
            },
        );
        for line in page.lines() {
            assert!(wrap::width(line) <= width.max(40), "{line:?}");
        }
        assert!(
            width < 80 || page.lines().count() <= 56,
            "{} lines",
            page.lines().count()
        );
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plain = terminal(&culprit(), &TerminalStyle::default());
    let style = TerminalStyle {
        color: true,
        width: 80,
    };
    let mut colored = terminal(&culprit(), &style);
    assert!(colored.contains("\u{1b}[32m"));
    for code in ["[0m", "[1m", "[2m", "[31m", "[32m", "[36m"] {
        colored = colored.replace(&format!("\u{1b}{code}"), "");
    }
    assert_eq!(plain, colored);
}

#[test]
fn json_is_the_document() {
    let report = culprit();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        value(&json(&report)),
        value(&serde_json::to_string(&report).unwrap())
    );
}

/// Counts of elements by name, and attributes that the page relies on.
fn elements(page: &str, open: &str) -> usize {
    page.matches(open).count()
}

#[test]
fn plots_have_line_marks_axes_and_names() {
    let page = html(&culprit());
    assert_eq!(elements(&page, "<svg "), 3);
    assert_eq!(elements(&page, "role=\"img\""), 3);
    assert_eq!(elements(&page, "<polyline class=\"line\""), 3);
    assert_eq!(elements(&page, "class=\"onset\""), 3);
    assert_eq!(elements(&page, "class=\"alert\""), 3);
    assert_eq!(elements(&page, "class=\"threshold\""), 1);
    assert_eq!(elements(&page, "</title>"), 4);
    assert_eq!(elements(&page, "</desc>"), 3);
    for text in [
        "onset 12:02:30",
        "alert 12:05:00",
        ">12:00<",
        "threshold 5 %",
        ">2 s<",
        ">40 %<",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for part in page.split("points=\"").skip(1) {
        let points = part.split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (58.0..=408.0).contains(&x) && (42.0..=164.0).contains(&y),
                "{point}"
            );
        }
    }
}

#[test]
fn every_citation_has_its_anchor_and_ids_are_unique() {
    for report in [culprit(), surge(), unclear()] {
        let page = html(&report);
        for part in page.split("href=\"#").skip(1) {
            let id = part.split('"').next().unwrap();
            assert!(page.contains(&format!("<li id=\"{id}\">")), "{id}");
        }
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        for part in page.split(" id=\"").skip(1) {
            *ids.entry(part.split('"').next().unwrap()).or_default() += 1;
        }
        assert!(ids.values().all(|n| *n == 1), "{ids:?}");
    }
}

#[test]
fn odd_series_are_drawn_or_left_out_but_never_break_the_page() {
    let mut evidence = sample::culprit();
    let shapes: [fn(usize) -> f64; 4] = [
        |_| 0.0,
        |_| f64::MAX,
        |i| if i.is_multiple_of(2) { -1e300 } else { 1e300 },
        |_| 1e-300,
    ];
    for shape in shapes {
        for item in &mut evidence {
            if let Fact::Series(series) = &mut item.observation.fact {
                for (i, point) in series.points.iter_mut().enumerate() {
                    point.1 = shape(i);
                }
                series.role = SeriesRole::Errors;
            }
        }
        let page = html(&report(evidence.clone(), Vec::new()));
        for drawing in page.split("<svg").skip(1) {
            let drawing = drawing.split("</svg>").next().unwrap();
            assert!(
                !drawing.contains("NaN") && !drawing.contains("\"inf"),
                "{drawing}"
            );
        }
    }
}
