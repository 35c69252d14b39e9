//! Weighs each commit of the window.

use incident::{Cause, Change, EvidenceId, Series};
use jiff::SignedDuration;

use super::Config;
use super::candidate::{Candidate, Kind};
use super::edits::{self, Edit, Edits};
use super::mechanism;
use super::picture::{Picture, Traffic};
use super::weights;
use super::words::{self, Rarity, Words};
use crate::phrase;

/// One candidate for each commit, in the order of the picture.
pub(super) fn weigh(picture: &Picture<'_>, config: &Config) -> Vec<Candidate> {
    let read: Vec<Edits> = picture
        .changes
        .iter()
        .map(|(_, change)| edits::read(change, config.diff_lines_max, config.words_max))
        .collect();
    // Words of commits that cannot run say nothing about which word is rare among those that can.
    let live = read.iter().filter(|e| e.inert.is_none());
    let rarity = Rarity::among(live.map(|e| &e.words));
    let pairs = picture.changes.iter().zip(&read);
    pairs
        .map(|((id, change), edits)| {
            let mut candidate = begin(*id, change);
            let weigher = Weigher {
                picture,
                config,
                id: *id,
                change,
                edits,
            };
            weigher.time(&mut candidate);
            weigher.nature(&mut candidate);
            weigher.place(&mut candidate);
            weigher.words(&rarity, &mut candidate);
            weigher.mechanism(&mut candidate);
            weigher.runs(&mut candidate);
            weigher.contrast(&mut candidate);
            candidate
        })
        .collect()
}

fn begin(id: EvidenceId, change: &Change) -> Candidate {
    let entity = format!(
        "commit {} \"{}\" in {}",
        change.short(),
        change.subject.one_line(72),
        change.repository
    );
    let cause = Cause::Change {
        repository: change.repository.clone(),
        commit: change.commit.clone(),
        evidence: id,
    };
    let tie = format!("{} {} {}", change.at, change.repository, change.commit);
    Candidate::new(entity, cause, weights::CHANGE, tie)
}

/// Words shown to a reader; more says no more.
const WORDS_SHOWN: usize = 4;

/// Whether a series that shares a word with a setting went from its old value to its new one.
fn shows(series: &Series, edit: &Edit) -> bool {
    let Edit::Knob(knob) = edit else { return false };
    let near = |written: &str, seen: Option<f64>| {
        let value = written.trim_matches(['"', '\'']).parse::<f64>();
        let (Ok(value), Some(seen)) = (value, seen) else {
            return false;
        };
        (value - seen).abs() <= 1e-3 * value.abs()
    };
    let named = words::of(series.name.expose(), NAME_WORDS_MAX);
    let shared = words::of(&knob.name, NAME_WORDS_MAX)
        .iter()
        .any(|word| words::telling(word) && named.contains(word));
    shared && near(&knob.from, series.before) && near(&knob.to, series.after)
}

/// Words of a name that are read.
const NAME_WORDS_MAX: usize = 32;

struct Weigher<'a> {
    picture: &'a Picture<'a>,
    config: &'a Config,
    id: EvidenceId,
    change: &'a Change,
    edits: &'a Edits,
}

impl Weigher<'_> {
    fn cite(&self, others: Vec<EvidenceId>) -> impl Iterator<Item = EvidenceId> {
        std::iter::once(self.id).chain(others)
    }

    fn time(&self, candidate: &mut Candidate) {
        let onset = self.picture.onset;
        let evidence = self.picture.onset_evidence();
        let measured = onset.shown_by.is_some();
        let mark = if measured { "onset" } else { "alert" };
        let before = onset.at.duration_since(self.change.at);
        if before < SignedDuration::ZERO {
            let late = before.abs();
            let same = measured && late <= self.config.tolerance();
            let (weight, text) = if same {
                (
                    weights::TIME_SAME,
                    format!("It landed within {} of the onset.", phrase::length(late)),
                )
            } else {
                let text = format!("It landed {} after the {mark}.", phrase::length(late));
                (weights::TIME_AFTER, text)
            };
            candidate.because(Kind::Time, weight, text, self.cite(evidence));
            return;
        }
        let delay = SignedDuration::try_from(self.config.deploy_delay.0).unwrap_or_default();
        let halving = self.config.delay_halving.0.as_secs_f64().max(1.0);
        let over = (before - delay).as_secs_f64().max(0.0);
        let near = (-over / halving * std::f64::consts::LN_2).exp();
        let full = weights::TIME_FAR + (weights::TIME_CLOSE - weights::TIME_FAR) * near;
        let weight = if measured || full < 0.0 {
            full
        } else {
            full * weights::TIME_UNMEASURED
        };
        let text = format!("It landed {} before the {mark}.", phrase::length(before));
        candidate.because(Kind::Time, weight, text, self.cite(evidence));
    }

    fn nature(&self, candidate: &mut Candidate) {
        if let Some(why) = self.edits.inert {
            let text = format!("It changes only {why}.");
            candidate.because(Kind::Nature, weights::INERT, text, [self.id]);
        }
        let (onset, lines_max) = (self.picture.onset.at, self.config.diff_lines_max);
        let undo = self.picture.changes.iter().find(|(_, later)| {
            later.repository == self.change.repository
                && (later.at, &later.commit) > (self.change.at, &self.change.commit)
                && later.at <= onset
                && edits::undoes(later, self.change, lines_max)
        });
        if let Some((id, later)) = undo {
            let text = format!("Commit {} took it back before the onset.", later.short());
            candidate.because(Kind::Nature, weights::UNDONE, text, [self.id, *id]);
        }
        if self.change.parents.len() > 1 && self.only_carries() {
            let text = "It is a merge; the commits it carries are weighed by themselves.";
            candidate.because(Kind::Nature, weights::MERGE, text.to_owned(), [self.id]);
        }
    }

    /// Whether other commits of the window that are no merges touch every file of this one.
    fn only_carries(&self) -> bool {
        self.change.files.iter().all(|file| {
            self.picture.changes.iter().any(|(id, other)| {
                *id != self.id
                    && other.parents.len() <= 1
                    && other.repository == self.change.repository
                    && other.files.iter().any(|f| f.path == file.path)
            })
        })
    }

    fn place(&self, candidate: &mut Candidate) {
        let alerts = self.picture.alerts.clone();
        let services: Vec<Words> = self
            .change
            .services
            .iter()
            .map(|service| words::of(service, self.config.words_max))
            .filter(|words| !words.is_empty())
            .collect();
        let subject = |words: &Words| self.picture.names.contains(words);
        if services.iter().any(subject) {
            let text = "It reaches the alert's service.";
            candidate.because(
                Kind::Place,
                weights::PLACE_SERVICE,
                text.to_owned(),
                self.cite(alerts),
            );
        } else if self.path_carries_name() {
            let text = "It touches a path that carries the name of what the alert is about.";
            candidate.because(
                Kind::Place,
                weights::PLACE_PATH,
                text.to_owned(),
                self.cite(alerts),
            );
        } else if !services.is_empty() {
            let text = "It reaches other services only.";
            candidate.because(
                Kind::Place,
                weights::PLACE_ELSEWHERE,
                text.to_owned(),
                self.cite(alerts),
            );
        }
    }

    /// Whether a folder, a file or the repository is named like the subject.
    fn path_carries_name(&self) -> bool {
        let is_name = |part: &str| {
            let words = words::of(part, self.config.words_max);
            !words.is_empty() && self.picture.names.contains(&words)
        };
        is_name(&self.change.repository)
            || self.change.files.iter().any(|file| {
                let path = file.path.expose();
                path.split('/')
                    .any(|part| is_name(part.split('.').next().unwrap_or(part)))
            })
    }

    fn words(&self, rarity: &Rarity, candidate: &mut Candidate) {
        let mut own = self.edits.words.clone();
        for name in &self.picture.names {
            own.retain(|word| !name.contains(word));
        }
        let (weight, shared) = rarity.shared(&own, &self.picture.symptom);
        let (text, evidence) = if shared.is_empty() {
            let mut evidence = self.picture.moved_evidence();
            evidence.extend(&self.picture.alerts);
            let text = "It edits nothing that the alert or the metrics speak of.";
            (text.to_owned(), evidence)
        } else {
            let (shown, evidence) = self.spoken(shared);
            let text = format!("It edits what the alert and the metrics speak of: {shown}.");
            (text, evidence)
        };
        candidate.because(Kind::Words, weight, text, self.cite(evidence));
    }

    /// The words of these stems as the symptom has them, the telling ones, with who speaks them.
    fn spoken(&self, mut stems: Vec<&str>) -> (String, Vec<EvidenceId>) {
        if stems.iter().any(|stem| words::vivid(stem)) {
            stems.retain(|stem| words::vivid(stem));
        }
        let spoken: Vec<(String, Vec<EvidenceId>)> = stems
            .into_iter()
            .filter_map(|stem| self.picture.spoken(stem))
            .take(WORDS_SHOWN)
            .collect();
        let evidence = spoken.iter().flat_map(|(_, ids)| ids.iter().copied());
        let evidence = evidence.collect();
        let shown: Vec<String> = spoken.into_iter().map(|(word, _)| word).collect();
        (shown.join(", "), evidence)
    }

    /// A metric that shows the new value: what was edited is what runs.
    fn runs(&self, candidate: &mut Candidate) {
        let tolerance = self.config.tolerance();
        let found = self.picture.series.iter().find_map(|seen| {
            let at = seen.series.onset?;
            let in_time = self.change.at.duration_since(at) <= tolerance;
            let edit = self
                .edits
                .found
                .iter()
                .find(|edit| shows(seen.series, edit))?;
            in_time.then_some((seen, at, edit))
        });
        if let Some((seen, at, _)) = found {
            let text = format!(
                "It runs: {} {} {} at {}.",
                phrase::series_name(seen.series),
                phrase::Way::of(seen.series).verb(),
                phrase::course(seen.series),
                phrase::clock(at)
            );
            candidate.runs = true;
            candidate.because(
                Kind::Contrast,
                weights::RUNS,
                text,
                self.cite(vec![seen.id]),
            );
        }
    }

    /// Code that is gone and that the symptom misses by name.
    fn removal(&self, candidate: &mut Candidate) {
        let is_name = |word: &String| self.picture.names.iter().any(|name| name.contains(word));
        let missed: Vec<&str> = self
            .edits
            .removed_words
            .intersection(&self.picture.symptom)
            .filter(|word| words::telling(word) && !is_name(word))
            .map(String::as_str)
            .collect();
        if !missed.is_empty() {
            let (shown, evidence) = self.spoken(missed);
            let text =
                format!("What it removes is what the alert and the metrics speak of: {shown}.");
            let weight = weights::REMOVAL_NAMED;
            candidate.because(Kind::Mechanism, weight, text, self.cite(evidence));
        }
    }

    fn mechanism(&self, candidate: &mut Candidate) {
        self.removal(candidate);
        let Some(found) = mechanism::best(self.edits, &self.picture.roles) else {
            candidate.mechanism = "What it does to what moved cannot be read from the diff.".into();
            return;
        };
        candidate.mechanism = format!("{} {}", found.act, found.effect);
        let mut evidence = Vec::new();
        if found.is_limit {
            evidence = self.picture.worst_of_each_role();
        }
        let text = if found.weight > 0.0 {
            found.act
        } else {
            candidate.mechanism.clone()
        };
        candidate.because(Kind::Mechanism, found.weight, text, self.cite(evidence));
    }

    fn contrast(&self, candidate: &mut Candidate) {
        let picture = self.picture;
        if picture.moved.is_empty() && !picture.still.is_empty() {
            let text = "None of the metrics that were looked at got worse.";
            let still = picture.still.iter().map(|seen| seen.id);
            let evidence: Vec<EvidenceId> = still.collect();
            candidate.because(
                Kind::Contrast,
                weights::NOTHING_MOVED,
                text.to_owned(),
                evidence,
            );
        }
        if let Traffic::Surged { id, factor, at, .. } = picture.traffic {
            let first = at.duration_since(picture.onset.at) <= self.config.tolerance();
            let limits = candidate.supported_by(Kind::Mechanism);
            if first && !limits {
                let text = format!(
                    "Traffic rose {} times first, and it moves no limit.",
                    phrase::times(factor)
                );
                candidate.because(
                    Kind::Contrast,
                    weights::SURGE_EXPLAINS,
                    text,
                    self.cite(vec![id]),
                );
            }
        }
    }
}
