//! The HTML form: one page that needs nothing but itself.

use incident::report::Claim;
use incident::{Change, Evidence, EvidenceId, Fact, Report, Series, SeriesRole, Verdict};

use super::escape::{self, address, code_line, html as text, html_plain};
use super::plot;
use super::view;
use crate::phrase;
use crate::reporting::repeats;

/// Plots at the top of the page; every other series is in the evidence as numbers.
const PLOTS_MAX: usize = 4;
/// Lines of diff shown.
const DIFF_LINES_MAX: usize = 2_000;

const STYLE: &str = include_str!("page.css");
/// Nothing may be loaded or run, whatever gets into the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// As one self-contained page: no script, nothing loaded, dark and light by preference.
pub fn html(report: &Report) -> String {
    let mut out = vec![
        "<!doctype html>".to_owned(),
        "<html lang=\"en\">".to_owned(),
        "<head>".to_owned(),
        "<meta charset=\"utf-8\">".to_owned(),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">".to_owned(),
        format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">"),
        "<meta name=\"referrer\" content=\"no-referrer\">".to_owned(),
        format!(
            "<title>{}</title>",
            html_plain(&escape::line(&report.title))
        ),
        format!("<style>\n{STYLE}</style>"),
        "</head>".to_owned(),
        "<body>".to_owned(),
        "<main>".to_owned(),
    ];
    header(report, &mut out);
    section(
        "What is going on",
        claims(&report.impact, "Nothing could be measured."),
        &mut out,
    );
    out.extend(plots(report));
    let none = "I do not know, and there is nothing to go by.";
    section("What caused it", claims(&report.cause, none), &mut out);
    if !report.next_steps.is_empty() {
        section("What to do now", steps(&report.next_steps), &mut out);
    }
    section("Proposed change", change(report), &mut out);
    section("Timeline", timeline(report), &mut out);
    let rest = view::less_likely(report);
    if !rest.is_empty() {
        let items = rest
            .iter()
            .map(|(what, ids)| format!("<li>{} {}</li>", text(what), cite(ids)));
        section(
            "Less likely",
            list("ul", "", &items.collect::<Vec<_>>()),
            &mut out,
        );
    }
    if !report.diagnosis.ruled_out.is_empty() {
        section("Ruled out", ruled_out(report), &mut out);
    }
    if !report.diagnosis.gaps.is_empty() {
        section("Not known", gaps(report), &mut out);
    }
    if !report.evidence.is_empty() {
        section("Evidence", evidence(&report.evidence), &mut out);
    }
    out.push(format!(
        "<footer>{}, written {}, {}</footer>",
        text(report.incident.as_str()),
        phrase::date(report.written_at),
        text(&view::author(report))
    ));
    out.push("</main>\n</body>\n</html>\n".to_owned());
    out.join("\n")
}

fn section(title: &str, body: String, out: &mut Vec<String>) {
    out.push(format!("<section>\n<h2>{title}</h2>"));
    out.push(body);
    out.push("</section>".to_owned());
}

fn header(report: &Report, out: &mut Vec<String>) {
    let class = match report.diagnosis.verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::Likely => "likely",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NoFault => "no_fault",
    };
    out.push(format!("<header class=\"{class}\">"));
    out.push(format!("<h1>{}</h1>", text(&view::headline(report))));
    out.push(format!("<p>{}</p>", text(&report.title)));
    let class = if report.partial { "partial" } else { "soft" };
    out.push(format!(
        "<p class=\"{class}\">{}</p>",
        text(&view::state_since(report))
    ));
    out.push("</header>".to_owned());
}

/// Links to the facts.
fn cite(ids: &[EvidenceId]) -> String {
    let links: Vec<String> = ids
        .iter()
        .map(|id| format!("<a class=\"cite\" href=\"#{id}\">{id}</a>"))
        .collect();
    links.join(" ")
}

fn list(tag: &str, class: &str, items: &[String]) -> String {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    format!("<{tag}{class}>\n{}\n</{tag}>", items.join("\n"))
}

fn claims(claims: &[Claim], none: &str) -> String {
    if claims.is_empty() {
        return format!("<p>{none}</p>");
    }
    let items = claims
        .iter()
        .map(|claim| format!("<li>{} {}</li>", text(&claim.text), cite(&claim.evidence)));
    list("ul", "", &items.collect::<Vec<_>>())
}

fn steps(steps: &[String]) -> String {
    let items = steps.iter().map(|step| format!("<li>{}</li>", text(step)));
    list("ol", "", &items.collect::<Vec<_>>())
}

/// The series that the sentences cite, in their order; where none is cited, those that moved.
fn plots(report: &Report) -> Vec<String> {
    let claims = report.impact.iter().chain(&report.cause);
    let cited: Vec<EvidenceId> = claims.flat_map(|c| c.evidence.iter().copied()).collect();
    let place = |id: EvidenceId| cited.iter().position(|c| *c == id).unwrap_or(cited.len());
    let mut moved: Vec<(&Evidence, &Series)> = report
        .evidence
        .iter()
        .filter_map(|e| match &e.observation.fact {
            Fact::Series(series) if series.moved() => Some((e, series)),
            _ => None,
        })
        .collect();
    moved.sort_by_key(|(e, _)| (place(e.id), e.id));
    // The alert's own expression often repeats the error series number for number: one drawing, of the
    // one that has a unit, with the threshold of the one that has it.
    let mut drawn: Vec<(&Evidence, &Series, Option<f64>)> = Vec::new();
    for (item, series) in moved {
        let twin = drawn
            .iter_mut()
            .find(|(_, other, _)| repeats(series, other));
        match twin {
            None => drawn.push((item, series, series.threshold)),
            Some((kept, other, threshold)) => {
                *threshold = threshold.or(series.threshold);
                if other.role == SeriesRole::Alert {
                    (*kept, *other) = (item, series);
                }
            }
        }
    }
    let figures = drawn.into_iter().filter_map(|(item, series, threshold)| {
        let svg = plot::svg(item, threshold, report.started_at)?;
        let caption = match series.role {
            SeriesRole::Alert => "What the alert measures, times in UTC".to_owned(),
            role => {
                let name = phrase::titled(role, &series.name.one_line(120));
                format!("{name}, times in UTC")
            }
        };
        Some(format!(
            "<figure>\n<figcaption>{} {}</figcaption>\n{svg}\n</figure>",
            html_plain(&caption),
            cite(&[item.id])
        ))
    });
    let figures: Vec<String> = figures.take(PLOTS_MAX).collect();
    if figures.is_empty() {
        return figures;
    }
    let open = "<div class=\"plots\">".to_owned();
    let close = "</div>".to_owned();
    std::iter::once(open)
        .chain(figures)
        .chain([close])
        .collect()
}

fn change(report: &Report) -> String {
    let (state, proposal) = view::change(report);
    let mut out = vec![format!("<p>{}</p>", text(&state))];
    if let Some(proposal) = proposal {
        out.push(format!(
            "<dl><dt>Risk</dt><dd>{}</dd><dt>Undo</dt><dd>{}</dd></dl>",
            text(&proposal.risk),
            text(&proposal.undo)
        ));
        out.push(diff(&proposal.preview.diff));
    }
    out.join("\n")
}

/// Names of objects and modes, which help no reader.
pub(super) fn is_object_line(line: &str) -> bool {
    line.starts_with("index ") || line.starts_with("diff --git ")
}

fn diff(diff: &str) -> String {
    let lines: Vec<String> = diff
        .lines()
        .filter(|line| !is_object_line(line))
        .take(DIFF_LINES_MAX)
        .map(|line| {
            let class = match line.as_bytes().first() {
                _ if line.starts_with("+++ ") || line.starts_with("--- ") => " class=\"hunk\"",
                Some(b'+') => " class=\"add\"",
                Some(b'-') => " class=\"del\"",
                Some(b'@') => " class=\"hunk\"",
                _ => "",
            };
            format!("<span{class}>{}</span>", html_plain(&code_line(line)))
        })
        .collect();
    let more = diff.lines().count().saturating_sub(DIFF_LINES_MAX);
    let rest = if more > 0 {
        format!(
            "<span class=\"hunk\">… {}</span>",
            phrase::count(more, "more line")
        )
    } else {
        String::new()
    };
    // Each line is a block of its own; a line break between them would show as an empty line.
    format!("<pre>{}{rest}</pre>", lines.concat())
}

fn timeline(report: &Report) -> String {
    let items = report.timeline.iter().map(|moment| {
        let cited = moment
            .evidence
            .map_or_else(String::new, |id| format!(" {}", cite(&[id])));
        format!(
            "<li><time datetime=\"{}\">{}</time><span>{}{cited}</span></li>",
            moment.at,
            phrase::near(moment.at, report.started_at),
            text(&moment.text)
        )
    });
    list("ul", "times", &items.collect::<Vec<_>>())
}

fn ruled_out(report: &Report) -> String {
    let items = report.diagnosis.ruled_out.iter().map(|item| {
        format!(
            "<li>{}: {} {}</li>",
            text(&item.entity),
            text(&item.why),
            cite(&item.evidence)
        )
    });
    list("ul", "", &items.collect::<Vec<_>>())
}

fn gaps(report: &Report) -> String {
    let items = view::gaps(report).into_iter();
    let items = items.map(|gap| format!("<li>{}</li>", text(&gap)));
    list("ul", "", &items.collect::<Vec<_>>())
}

fn evidence(evidence: &[Evidence]) -> String {
    list(
        "ul",
        "facts",
        &evidence.iter().map(fact).collect::<Vec<_>>(),
    )
}

fn fact(item: &Evidence) -> String {
    let seen = &item.observation;
    let id = item.id;
    let mut out = vec![format!(
        "<li id=\"{id}\"><strong>{id}</strong> {}",
        text(&seen.summary)
    )];
    let cluster = seen.cluster.as_ref().map_or_else(String::new, |c| {
        format!(", cluster {}", html_plain(&c.one_line(80)))
    });
    let query = if seen.query.trim().is_empty() {
        String::new()
    } else {
        format!(": <code>{}</code>", html_plain(&escape::line(&seen.query)))
    };
    out.push(format!(
        "<small>{}{query}{cluster}</small>",
        text(&seen.source)
    ));
    out.push(format!(
        "<small>{} to {}, digest {}</small>",
        phrase::date(seen.window.start),
        phrase::near(seen.window.end, seen.window.start),
        item.digest.short(12)
    ));
    if let Some(link) = seen.link.as_ref().and_then(address) {
        let link = html_plain(&link);
        out.push(format!(
            "<small><a href=\"{link}\" rel=\"noreferrer noopener nofollow\">{link}</a></small>"
        ));
    }
    if let Fact::Change(change) = &seen.fact {
        out.push(commit(change));
    }
    out.push("</li>".to_owned());
    out.join("\n")
}

fn commit(change: &Change) -> String {
    let files = change.files.iter().map(|file| {
        let shown = diff(file.diff.expose());
        format!(
            "<p><code>{}</code></p>\n{shown}",
            html_plain(&file.path.one_line(200))
        )
    });
    let left_out = if change.files_left_out > 0 {
        format!("<p>{} more files</p>", change.files_left_out)
    } else {
        String::new()
    };
    format!(
        "<details><summary>by {}, {}</summary>\n{}\n{left_out}</details>",
        html_plain(&change.author.one_line(80)),
        phrase::date(change.at),
        files.collect::<Vec<_>>().join("\n")
    )
}
