use std::collections::BTreeMap;

use incident::proposal::{ChangeKind, ChangeRequest, Preview};
use incident::report::{ChangeOutcome, Moment};
use incident::{Evidence, Fact, Gap, Incident, Report, SeriesRole, Untrusted};
use proptest::prelude::*;

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

fn preview() -> Preview {
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
            width < 80 || page.lines().count() <= 75,
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
    assert_eq!(value(&json(&report)), value(&serde_json::to_string(&report).unwrap()));
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
                (64.0..=628.0).contains(&x) && (42.0..=184.0).contains(&y),
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

/// A whole report in which every text from outside is `text`.
fn hostile(text: &str) -> Report {
    let text_of = |t: &str| Untrusted::new(format!("{t}{text}"));
    let mut incident: Incident = sample::incident();
    incident.subject.name = text_of("checkout");
    for member in incident.members.values_mut() {
        member.alert = text_of("A");
        for value in member.annotations.values_mut() {
            *value = text_of("");
        }
        member
            .annotations
            .insert("runbook_url".to_owned(), text_of("https://x.example/"));
    }
    let mut evidence = sample::culprit();
    for item in &mut evidence {
        let seen = &mut item.observation;
        seen.query.push_str(text);
        seen.summary.push_str(text);
        seen.cluster = Some(text_of(""));
        seen.link = Some(text_of(if item.id.0 % 2 == 0 {
            ""
        } else {
            "https://x.example/"
        }));
        match &mut seen.fact {
            Fact::Change(change) => {
                change.subject = text_of("");
                change.author = text_of("");
                change.repository.push_str(text);
                for file in &mut change.files {
                    file.path = text_of("services/checkout/");
                    file.diff = Untrusted::new(format!("{}+{text}\n", file.diff.expose()));
                    file.added = None;
                }
            }
            Fact::Series(series) => {
                series.name = text_of("db_pool");
                series.unit = text.chars().take(12).collect();
            }
            Fact::Alert { name, .. } => *name = text_of(""),
            Fact::NoChange { .. } | Fact::Text { .. } => {}
        }
    }
    evidence.extend(extra_text(text));
    let gaps = vec![Gap {
        source: text.to_owned(),
        what: text.to_owned(),
        why: text.to_owned(),
    }];
    let diagnosis = diagnose(&incident, &evidence, gaps, &Config::default());
    let request = ChangeRequest {
        incident: incident.id.clone(),
        kind: ChangeKind::Revert,
        repository: format!("shop{text}"),
        commit: "a".repeat(40),
    };
    let mut shown = preview();
    shown.diff.push_str(text);
    shown.files.push(text.to_owned());
    shown.base.push_str(text);
    let proposal = reporting::proposal(&incident, &diagnosis, &evidence, request, shown);
    reporting::compose(Inputs {
        incident: &incident,
        diagnosis,
        evidence,
        change: ChangeOutcome::Rejected {
            proposal,
            by: text.to_owned(),
        },
        moments: vec![Moment {
            at: at(320),
            text: text.to_owned(),
            evidence: None,
        }],
        partial: true,
        written_at: at(380),
    })
}

fn extra_text(text: &str) -> Vec<Evidence> {
    let mut more = sample::number(vec![Fact::Text {
        text: Untrusted::new(text),
    }]);
    more[0].id = incident::EvidenceId(99);
    more
}

/// No form may let any of these through.
fn harmless(report: &Report) {
    let body = match &report.change {
        ChangeOutcome::Rejected { proposal, .. } => proposal.body.clone(),
        _ => String::new(),
    };
    let page = html(report);
    let forms = [
        ("terminal", terminal(report, &TerminalStyle::default())),
        ("markdown", markdown(report)),
        ("html", page.clone()),
        ("json", json(report)),
        ("body", body),
    ];
    for (form, text) in &forms {
        let lower = text.to_lowercase();
        for bad in [
            "<script",
            "<iframe",
            "<!here",
            "<!channel",
            "<@",
            "@channel",
            "@here",
            "@everyone",
        ] {
            assert!(!lower.contains(bad), "{form} lets {bad} through: {text}");
        }
        let control =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(
            !text.contains(control),
            "{form} lets a control character through"
        );
    }
    // The page has no element, attribute value or address but ours.
    for tag in page.split('<').skip(1) {
        let name: String = tag
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '/' | '!'))
            .collect();
        let known = [
            "!doctype",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "header",
            "h1",
            "h2",
            "p",
            "section",
            "ul",
            "ol",
            "li",
            "a",
            "code",
            "figure",
            "figcaption",
            "svg",
            "desc",
            "line",
            "text",
            "polyline",
            "dl",
            "dt",
            "dd",
            "pre",
            "span",
            "time",
            "strong",
            "small",
            "details",
            "summary",
            "footer",
        ];
        assert!(known.contains(&name.trim_start_matches('/')), "<{tag}");
    }
    for part in page.split("href=\"").skip(1) {
        let ours = ["#E", "http://", "https://"]
            .iter()
            .any(|start| part.starts_with(start));
        assert!(ours, "{part}");
    }
    assert!(!page.contains(" on") || !page.contains(" onerror=\"") && !page.contains(" onload=\""));
}

const ATTACKS: &[&str] = &[
    "<script>alert(1)</script>",
    "</code></pre></style><script src=//x.example>",
    "\" onload=\"alert(1)",
    "' onerror='alert(1)",
    "<!here> <!channel> <@U123> @channel @here @everyone",
    "\u{1b}[2J\u{1b}]8;;http://x.example\u{7}click\u{1b}]8;;\u{7}",
    "\u{9b}31m \u{202e}drowssap\u{202c}\u{200b}\r\nnext",
    "```\n<script>\n```",
    "`<script>` ``<!here>`` `@channel",
    "[x](javascript:alert(1)) ![i](http://x.example/i.png)",
    "]]> --> <!-- <iframe>",
    "javascript://%0aalert(1)",
    "\n# Approved\n\nrun `nightshift approve`",
    "\u{0}\u{7f}\u{85}\u{feff}",
    "<SCRIPT>/<ScRiPt ",
];

#[test]
fn known_attacks_do_not_get_through() {
    for attack in ATTACKS {
        harmless(&hostile(attack));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_hostile_gets_through(
        start in "\\PC{0,12}",
        attack in prop::sample::select(ATTACKS),
        middle in any::<String>(),
        other in prop::sample::select(ATTACKS),
    ) {
        harmless(&hostile(&format!("{start}{attack}{middle}{other}")));
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
            assert!(!drawing.contains("NaN") && !drawing.contains("\"inf"), "{drawing}");
        }
    }
}

#[test]
#[ignore = "TEMPORARY"]
fn write_samples() {
    for (name, report) in [("culprit", culprit()), ("surge", surge()), ("unclear", unclear())] {
        std::fs::write(format!("/tmp/sample-{name}.html"), html(&report)).unwrap();
        std::fs::write(format!("/tmp/sample-{name}.ans"), terminal(&report, &TerminalStyle{color:true,width:80})).unwrap();
    }
}
