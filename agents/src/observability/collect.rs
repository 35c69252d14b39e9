//! Asks Prometheus about one incident. Every question may fail by itself: it becomes a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use incident::incident::Member;
use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::{Classify as _, Cx, Gap, Observation, SeriesRole, Window};
use jiff::{SignedDuration, Timestamp};

use super::catalog::{self, Metric};
use super::config::Config;
use super::onset::{Frame, Labelled, observation};
use super::plan::{Planned, Reading, Scope, plan};
use super::prometheus::{Answer, Labels, Prometheus, Range, ReadError, Samples};
use super::promql::{self, Matcher, selector};
use super::subject;

/// Label sets read when metrics are discovered, for each metric kept.
const SERIES_PER_METRIC: usize = 40;
/// Metrics whose metadata is read at most.
const METADATA_MAX: usize = 20_000;
/// Scrape interval where it cannot be measured: Prometheus's own usual choice.
const SCRAPE_USUAL: Duration = Duration::from_secs(15);
/// Rates over less than this are noise.
const RATE_MIN: Duration = Duration::from_secs(10);
/// How far back the scrape interval is measured.
const SCRAPE_PROBE: &str = "5m";
/// How long after the alert samples are still compared.
const AFTERMATH: Duration = Duration::from_mins(2);

/// One incident's questions.
pub(super) struct Collector<'a> {
    pub(super) config: &'a Config,
    pub(super) prometheus: &'a Prometheus<'a>,
    pub(super) request: &'a EvidenceRequest,
    pub(super) cx: &'a Cx,
    pub(super) gaps: Vec<Gap>,
}

/// The alert, as far as it could be read.
struct Alert {
    query: Planned,
    held_for: Duration,
    selectors: Vec<String>,
    named: BTreeSet<String>,
}

impl Collector<'_> {
    /// Asks everything and sorts the answers, most telling first.
    pub(super) async fn collect(mut self) -> EvidenceReply {
        let member = self.request.incident.lead().cloned();
        let alert = self.alert(member.as_ref()).await;
        let (matchers, series) = self.discover(member.as_ref(), &alert).await;
        let metrics = self.catalog(&series).await;
        let scrape = self.scrape_interval(&matchers).await;
        let frame = self.frame(scrape, alert.held_for);
        let scope = Scope {
            subject: matchers,
            rate: rate_window(scrape, frame.step),
        };
        let budget = self.config.queries_max.saturating_sub(1);
        let (planned, left_out) = plan(&metrics, &scope, &alert.named, budget);
        if left_out > 0 {
            self.gap(
                format!("{left_out} further metrics of the subject"),
                "agents.observability.queries_max was reached".to_owned(),
            );
        }
        self.cx.progress.note(
            "investigation",
            &format!("reading {} metric series", planned.len() + 1),
        );
        let observations = self.ask_all(alert.query, planned, frame, member.as_ref());
        let observations = observations.await;
        EvidenceReply {
            observations: most_telling_first(observations),
            gaps: self.gaps,
        }
    }

    fn gap(&mut self, what: String, why: String) {
        self.gaps.push(gap(what, why));
    }

    fn failed(&mut self, what: &str, error: &ReadError) {
        self.gap(what.to_owned(), explain(error));
    }

    /// The alert's expression (from the page it links to, else from the rule of its name, else the
    /// alert's own state) and its `for`.
    async fn alert(&mut self, member: Option<&Member>) -> Alert {
        let name = member.map(|m| m.alert.expose().to_owned());
        let rule = match &name {
            Some(name) => match self.prometheus.rule(self.cx, name).await {
                Ok(rule) => rule,
                Err(error) => {
                    self.failed("the alert's rule and its `for`", &error);
                    None
                }
            },
            None => None,
        };
        let longest = self.config.expression_max.get();
        let linked = member.and_then(|m| subject::expression(m, longest));
        let ruled = rule.as_ref().map(|rule| rule.query.clone());
        let take = |text: String| Some((promql::condition(&text)?, promql::selectors(&text)));
        let taken = linked.into_iter().chain(ruled).find_map(take);
        let held_for = rule.map(|rule| rule.held_for).unwrap_or_default();
        let (query, threshold, reads) = if let Some((condition, reads)) = taken {
            (condition.subject, condition.threshold, reads)
        } else {
            self.gap(
                "the alert's expression".to_owned(),
                "neither its generatorURL nor Prometheus's rules have one that can be read"
                    .to_owned(),
            );
            let of = Matcher::equal("alertname", name.unwrap_or_default());
            (selector("ALERTS", &[of]), None, Vec::new())
        };
        Alert {
            query: Planned {
                reading: Reading::Level,
                role: SeriesRole::Alert,
                label: "the alert's expression".to_owned(),
                unit: "",
                query,
                threshold,
            },
            held_for,
            selectors: reads.iter().map(|(m, all)| selector(m, all)).collect(),
            named: reads.into_iter().map(|(metric, _)| metric).collect(),
        }
    }

    /// Finds the matchers that single out the subject and the series they match.
    async fn discover(
        &mut self,
        member: Option<&Member>,
        alert: &Alert,
    ) -> (Vec<Matcher>, Vec<Labels>) {
        let mut candidates = Vec::new();
        if let Some(member) = member
            && !alert.selectors.is_empty()
        {
            match self.series(&alert.selectors).await {
                Ok(series) => candidates.push(subject::of_series(&series, member)),
                Err(error) => self.failed("the series the alert's expression reads", &error),
            }
        }
        candidates.extend(subject::guesses(&self.request.incident, member));
        candidates.retain(|matchers| !matchers.is_empty());
        for matchers in candidates {
            match self.series(&[selector("", &matchers)]).await {
                Ok(series) if !series.is_empty() => return (matchers, series),
                Ok(_) => {}
                Err(error) => {
                    self.failed("the subject's metrics", &error);
                    return (Vec::new(), Vec::new());
                }
            }
        }
        self.gap(
            "the subject's metrics".to_owned(),
            "no series in Prometheus carries the alert's identifying labels".to_owned(),
        );
        (Vec::new(), Vec::new())
    }

    async fn series(&mut self, matchers: &[String]) -> Result<Vec<Labels>, ReadError> {
        let limit = self.config.metrics_max.saturating_mul(SERIES_PER_METRIC);
        let window = self.request.window;
        let answer = self.prometheus.series(self.cx, matchers, window, limit);
        let answer = answer.await?;
        self.warned("the subject's metrics", &answer);
        Ok(answer.data)
    }

    fn warned<T>(&mut self, what: &str, answer: &Answer<T>) {
        if let Some(first) = answer.warnings.first() {
            let why = format!("Prometheus warned: {}", first.one_line(200));
            self.gap(format!("part of {what}"), why);
        }
    }

    async fn catalog(&mut self, series: &[Labels]) -> Vec<Metric> {
        if series.is_empty() {
            return Vec::new();
        }
        // Types follow from names where this fails, so it is worth a log line, not a gap.
        let metadata = self.prometheus.metadata(self.cx, METADATA_MAX).await;
        let metadata = metadata.unwrap_or_else(|error| {
            tracing::debug!(%error, "metric types are guessed from names");
            BTreeMap::default()
        });
        let limit = self.config.metrics_max;
        let (metrics, left_out) = catalog::gather(series, &metadata, limit);
        if left_out > 0 {
            self.gap(
                format!("{left_out} further metrics of the subject"),
                "agents.observability.metrics_max was reached".to_owned(),
            );
        }
        metrics
    }

    /// The usual distance between raw samples of the subject.
    async fn scrape_interval(&mut self, matchers: &[Matcher]) -> Duration {
        if matchers.is_empty() {
            return SCRAPE_USUAL;
        }
        let query = format!("{}[{SCRAPE_PROBE}]", selector("up", matchers));
        let at = self.request.window.end;
        let raw = self.prometheus.raw(self.cx, &query, at).await;
        let raw = match raw {
            Ok(answer) => answer.data,
            Err(error) => {
                tracing::debug!(%error, "the scrape interval is not known");
                Vec::new()
            }
        };
        let gaps: Vec<f64> = raw
            .iter()
            .flat_map(|samples| samples.points.windows(2))
            .map(|pair| pair[1].0.duration_since(pair[0].0).as_secs_f64())
            .collect();
        super::stats::median(&gaps)
            .and_then(|secs| Duration::try_from_secs_f64(secs.round().max(1.0)).ok())
            .unwrap_or(SCRAPE_USUAL)
    }

    fn frame(&self, scrape: Duration, held_for: Duration) -> Frame {
        let window = self.request.window;
        let length = window.length().unsigned_abs();
        let points = u32::try_from(self.config.points_max)
            .unwrap_or(u32::MAX)
            .max(2);
        let wanted = self.config.step.map_or(scrape, |step| step.0);
        let step = ceil_to_second(wanted.max(length / (points - 1)));
        let fired = self.request.fired_at;
        let reach = held_for.saturating_add(self.config.lookback.0);
        let after = held_for.max(AFTERMATH);
        Frame {
            window,
            step,
            search: Window::between(minus(fired, reach), plus(fired, step.saturating_mul(2))),
            compare_until: plus(fired, after),
            known_since: None,
            points_kept: self.config.points_kept,
            link: super::link_base(self.config),
            cluster: self.request.incident.subject.cluster.clone(),
        }
    }

    async fn ask_all(
        &mut self,
        alert: Planned,
        planned: Vec<Planned>,
        mut frame: Frame,
        member: Option<&Member>,
    ) -> Vec<Observation> {
        let (prometheus, cx) = (self.prometheus, self.cx);
        let asked = std::iter::once(alert)
            .chain(planned)
            .map(|planned| async move {
                let range = Range {
                    query: &planned.query,
                    window: frame.window,
                    step: frame.step,
                };
                let answer = prometheus.range(cx, range).await;
                (planned, answer)
            });
        let answers: Vec<_> = stream::iter(asked)
            .buffered(self.config.concurrency.max(1))
            .collect()
            .await;
        let read = answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok());
        let firsts = read.flat_map(|answer| &answer.data);
        frame.known_since = firsts.filter_map(|s| Some(s.points.first()?.0)).min();
        let mut observations = Vec::new();
        for (planned, answer) in answers {
            self.digest(&planned, answer, &frame, member, &mut observations);
        }
        observations
    }

    fn digest(
        &mut self,
        planned: &Planned,
        answer: Result<Answer<Vec<Samples>>, ReadError>,
        frame: &Frame,
        member: Option<&Member>,
        observations: &mut Vec<Observation>,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.failed(&planned.label, &error),
        };
        self.warned(&planned.label, &answer);
        let ours = |samples: &Samples| {
            planned.role != SeriesRole::Alert
                || member.is_none_or(|m| subject::agrees(&samples.labels, m))
        };
        let series: Vec<Samples> = answer.data.into_iter().filter(ours).collect();
        if series.iter().all(|samples| samples.points.is_empty()) {
            let why = format!("no samples in the window for {}", planned.query);
            return self.gap(planned.label.clone(), why);
        }
        let kept = self.config.series_per_query_max;
        let many = series.len();
        let mut found: Vec<Observation> = series
            .into_iter()
            .map(|samples| observation(Labelled { planned, samples }, frame, many > 1))
            .collect();
        found.sort_by(telling);
        found.truncate(kept);
        observations.append(&mut found);
        if many > kept {
            let what = format!("{} further series of {}", many - kept, planned.label);
            self.gap(
                what,
                "agents.observability.series_per_query_max was reached".to_owned(),
            );
        }
    }
}

/// A gap of this agent.
pub(super) fn gap(what: String, why: String) -> Gap {
    Gap {
        source: agent::OBSERVABILITY.to_owned(),
        what,
        why,
    }
}

/// The error with its code.
pub(super) fn explain(error: &ReadError) -> String {
    format!("{error} ({})", error.code())
}

/// A rate needs a few samples, and must not skip any between points.
fn rate_window(scrape: Duration, step: Duration) -> Duration {
    ceil_to_second(scrape.saturating_mul(4).max(step).max(RATE_MIN))
}

fn ceil_to_second(span: Duration) -> Duration {
    let whole = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    Duration::from_secs(whole.max(1))
}

fn minus(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}

fn plus(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// The alert's expression, then what moved by how clearly it moved, then what did not move: traffic
/// first, because "traffic did not change" rules something out.
fn most_telling_first(mut all: Vec<Observation>) -> Vec<Observation> {
    all.sort_by(telling);
    all
}

fn telling(a: &Observation, b: &Observation) -> std::cmp::Ordering {
    let key = |o: &Observation| {
        let incident::Fact::Series(series) = &o.fact else {
            // An event near the onset: after what moved, before what did not.
            return (1, 1, 0.0);
        };
        let still = match series.role {
            SeriesRole::Traffic => 0,
            SeriesRole::Errors => 1,
            SeriesRole::Latency => 2,
            SeriesRole::Saturation | SeriesRole::Alert => 3,
        };
        match (series.role, series.moved()) {
            (SeriesRole::Alert, _) => (0, 0, -series.score),
            (_, true) => (1, 0, -series.score),
            (_, false) => (2, still, 0.0),
        }
    };
    let (x, y) = (key(a), key(b));
    (x.0, x.1)
        .cmp(&(y.0, y.1))
        .then(x.2.total_cmp(&y.2))
        .then_with(|| (&a.query, &a.summary).cmp(&(&b.query, &b.summary)))
}
