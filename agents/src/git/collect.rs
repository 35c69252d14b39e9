//! One repository: fetch, choose the steps of the time in question, read them.

use incident::error::Classify as _;
use incident::evidence::{Fact, Gap, Observation};
use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::ports::Cx;
use incident::window::Window;
use jiff::{SignedDuration, Timestamp};
use runtime::git::{Fetched, GitError, Landing, Mirror};

use super::config::Config;
use super::describe;

/// What one repository gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Changes of the window and, if there was none, that there was none.
    within: Vec<Observation>,
    /// Changes before the window.
    before: Vec<Observation>,
    gaps: Vec<Gap>,
}

/// The spans of time a step can fall into.
#[derive(Debug, Clone, Copy)]
struct Spans {
    window: Window,
    lookback: Window,
}

impl Spans {
    fn new(request: &EvidenceRequest, config: &Config) -> Self {
        let shift = |at: Timestamp, by: runtime::config::Span, sign: i32| {
            let by = SignedDuration::try_from(by.0).unwrap_or(SignedDuration::MAX);
            let limit = if sign < 0 {
                Timestamp::MIN
            } else {
                Timestamp::MAX
            };
            at.checked_add(by * sign).unwrap_or(limit)
        };
        let end = shift(request.fired_at, config.margin, 1);
        let start = request.window.start.min(end);
        let earliest = shift(request.fired_at, config.lookback, -1).min(start);
        Self {
            window: Window { start, end },
            lookback: Window {
                start: earliest,
                end: start,
            },
        }
    }
}

/// Reads one repository. What fails becomes a gap.
pub(super) async fn collect(
    mirror: &Mirror,
    request: &EvidenceRequest,
    config: &Config,
    cx: &Cx,
) -> Found {
    let spans = Spans::new(request, config);
    let mut found = Found::default();
    let name = &mirror.repository().name;
    let (fetched, fresh) = match mirror.fetch(cx).await {
        Ok(fetched) => (fetched, true),
        Err(error) => {
            let Ok(Some(last)) = mirror.last(cx).await else {
                found
                    .gaps
                    .push(gap(format!("changes of {name}"), &explain(&error)));
                return found;
            };
            let what = format!("changes of {name} after {}", describe::instant(last.at));
            let why = format!("{}; an older mirror was read", explain(&error));
            found.gaps.push(gap(what, &why));
            (last, false)
        }
    };
    if let Err(error) = read(mirror, (&fetched, fresh), spans, config, cx, &mut found).await {
        found
            .gaps
            .push(gap(format!("changes of {name}"), &explain(&error)));
    }
    found
}

async fn read(
    mirror: &Mirror,
    (fetched, fresh): (&Fetched, bool),
    spans: Spans,
    config: &Config,
    cx: &Cx,
    found: &mut Found,
) -> Result<(), GitError> {
    let name = mirror.repository().name.clone();
    let history = mirror.history(&fetched.tip, config.scan_max, cx).await?;
    let cut = history.len() == config.scan_max
        && history
            .last()
            .is_some_and(|oldest| oldest.at >= spans.window.start && !oldest.parents.is_empty());
    if cut {
        let what = format!(
            "changes of {name} in the window before the newest {}",
            config.scan_max
        );
        found
            .gaps
            .push(gap(what, "the window holds more steps than scan_max"));
    }
    let within: Vec<&Landing> = history
        .iter()
        .filter(|s| spans.window.contains(s.at))
        .collect();
    let before: Vec<&Landing> = history
        .iter()
        .filter(|s| spans.lookback.contains(s.at) && !spans.window.contains(s.at))
        .collect();
    if within.is_empty() && fresh {
        found.within.push(nothing(mirror, spans.window));
    }
    let left_out = within.len().saturating_sub(config.changes_max);
    if left_out > 0 {
        let what = format!("{left_out} older changes of {name} in the window");
        found.gaps.push(gap(
            what,
            &format!("only the newest {} are read", config.changes_max),
        ));
    }
    let room = config.changes_max.saturating_sub(within.len());
    let chosen = within
        .iter()
        .take(config.changes_max)
        .map(|step| (*step, true));
    let chosen = chosen.chain(before.iter().take(room).map(|step| (*step, false)));
    for (step, inside) in chosen {
        match mirror.change(step, &config.read, cx).await {
            Ok(change) => {
                let window = if inside { spans.window } else { spans.lookback };
                let observation = observation(mirror, step, change, window);
                if inside {
                    &mut found.within
                } else {
                    &mut found.before
                }
                .push(observation);
            }
            Err(error) => {
                let what = format!("commit {} of {name}", step.commit.short());
                found.gaps.push(gap(what, &explain(&error)));
                if matches!(
                    error,
                    GitError::Deadline { .. } | GitError::Cancelled { .. }
                ) {
                    let what = format!("the changes of {name} before {}", step.commit.short());
                    found.gaps.push(gap(what, "the deadline came first"));
                    break;
                }
            }
        }
    }
    Ok(())
}

fn observation(
    mirror: &Mirror,
    step: &Landing,
    change: incident::Change,
    window: Window,
) -> Observation {
    let repository = mirror.repository();
    let link = repository
        .commit_url
        .as_ref()
        .map(|url| format!("{url}{}", step.commit).into());
    Observation {
        source: agent::GIT.to_owned(),
        query: format!("git show --first-parent -m {}", step.commit),
        window,
        cluster: None,
        summary: describe::change(&change, step, window),
        fact: Fact::Change(change),
        link,
    }
}

fn nothing(mirror: &Mirror, window: Window) -> Observation {
    let repository = mirror.repository();
    let (name, base) = (&repository.name, &repository.base);
    Observation {
        source: agent::GIT.to_owned(),
        query: format!(
            "git log --first-parent --since={} --until={} origin/{base}",
            window.start, window.end
        ),
        window,
        cluster: None,
        summary: format!(
            "nothing landed on {base} of {name} between {} and {}",
            describe::instant(window.start),
            describe::instant(window.end)
        ),
        fact: Fact::NoChange {
            repository: name.clone(),
        },
        link: None,
    }
}

/// One reply: the window's changes of all repositories, then the earlier ones, newest first.
pub(super) fn join(found: Vec<Found>, config: &Config) -> EvidenceReply {
    let mut reply = EvidenceReply {
        observations: Vec::new(),
        gaps: Vec::new(),
    };
    let mut before = Vec::new();
    for one in found {
        reply.observations.extend(one.within);
        before.extend(one.before);
        reply.gaps.extend(one.gaps);
    }
    let newest_first = |observation: &Observation| match &observation.fact {
        Fact::Change(change) => std::cmp::Reverse(change.at),
        _ => std::cmp::Reverse(Timestamp::MIN),
    };
    // Stable, so that commits of the same second keep the order of their branch.
    reply.observations.sort_by_key(newest_first);
    before.sort_by_key(newest_first);
    reply.observations.extend(before);
    let left_out = reply
        .observations
        .len()
        .saturating_sub(config.observations_max);
    if left_out > 0 {
        let what = format!("{left_out} changes of lower rank");
        reply
            .gaps
            .push(gap(what, "more than observations_max were found"));
        reply.observations.truncate(config.observations_max);
    }
    reply
}

fn gap(what: String, why: &str) -> Gap {
    Gap {
        source: agent::GIT.to_owned(),
        what,
        why: incident::Untrusted::new(why).one_line(400),
    }
}

fn explain(error: &GitError) -> String {
    format!("{error} ({})", error.code())
}
