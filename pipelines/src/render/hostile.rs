use incident::proposal::{ChangeKind, ChangeRequest};
use incident::report::{ChangeOutcome, Moment};
use incident::{Evidence, Fact, Gap, Incident, Report, Untrusted};
use proptest::prelude::*;

use super::tests::preview;
use super::*;
use crate::diagnosis::{Config, diagnose};
use crate::reporting::{self, Inputs};
use crate::sample::{self, at};

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
    let mut evidence = hostile_evidence(text);
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

fn hostile_evidence(text: &str) -> Vec<Evidence> {
    let text_of = |t: &str| Untrusted::new(format!("{t}{text}"));
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
    evidence
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
    only_our_elements(&page);
}

/// The page has no element, attribute value or address but ours.
fn only_our_elements(page: &str) {
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
            "div",
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
