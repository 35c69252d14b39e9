//! A possible cause while it is being weighed.

use incident::diagnosis::{Reason, RuledOut};
use incident::{Cause, EvidenceId, Hypothesis};

use super::weights;

/// The kind of evidence a reason is; several kinds that agree are worth more than one that shouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Time,
    Place,
    Words,
    Mechanism,
    Nature,
    Contrast,
}

/// A possible cause with its reasons so far.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) entity: String,
    pub(super) mechanism: String,
    pub(super) cause: Cause,
    /// Ties are broken by this and by nothing that depends on order.
    pub(super) tie: String,
    /// Whether a metric shows that it runs.
    pub(super) runs: bool,
    prior: f64,
    reasons: Vec<(Kind, Reason)>,
}

impl Candidate {
    pub(super) fn new(entity: String, cause: Cause, prior: f64, tie: String) -> Self {
        Self {
            entity,
            mechanism: String::new(),
            cause,
            tie,
            runs: false,
            prior,
            reasons: Vec::new(),
        }
    }

    /// Adds a reason; one without evidence or weight is none. It answers whether it was added.
    pub(super) fn because(
        &mut self,
        kind: Kind,
        weight: f64,
        text: String,
        evidence: impl IntoIterator<Item = EvidenceId>,
    ) {
        let mut evidence: Vec<EvidenceId> = evidence.into_iter().collect();
        evidence.sort();
        evidence.dedup();
        if weight != 0.0 && !evidence.is_empty() {
            let reason = Reason {
                text,
                evidence,
                weight,
            };
            self.reasons.push((kind, reason));
        }
    }

    /// Log odds.
    pub(super) fn score(&self) -> f64 {
        self.prior + self.reasons.iter().map(|(_, r)| r.weight).sum::<f64>()
    }

    /// Whether a reason of this kind speaks for it.
    pub(super) fn supported_by(&self, kind: Kind) -> bool {
        self.reasons
            .iter()
            .any(|(k, r)| *k == kind && r.weight > 0.0)
    }

    pub(super) fn is_change(&self) -> bool {
        matches!(self.cause, Cause::Change { .. })
    }

    /// Whether one reason alone, or all together, set it aside.
    pub(super) fn is_ruled_out(&self) -> bool {
        let decisive = |(_, r): &(Kind, Reason)| r.weight <= weights::DECISIVE;
        self.score() < weights::RULED_OUT || self.reasons.iter().any(decisive)
    }

    pub(super) fn into_hypothesis(self, confidence: f64) -> Hypothesis {
        let (mut reasons_for, mut reasons_against): (Vec<Reason>, Vec<Reason>) = self
            .reasons
            .into_iter()
            .map(|(_, reason)| reason)
            .partition(|reason| reason.weight > 0.0);
        for reasons in [&mut reasons_for, &mut reasons_against] {
            reasons.sort_by(|a, b| {
                b.weight
                    .abs()
                    .total_cmp(&a.weight.abs())
                    .then(a.text.cmp(&b.text))
            });
        }
        Hypothesis {
            entity: self.entity,
            mechanism: self.mechanism,
            cause: self.cause,
            reasons_for,
            reasons_against,
            confidence,
        }
    }

    /// With the heaviest reasons against it, two at most.
    pub(super) fn into_ruled_out(self) -> RuledOut {
        let entity = self.entity.clone();
        let own = match &self.cause {
            Cause::Change { evidence, .. } => vec![*evidence],
            _ => Vec::new(),
        };
        let decisive = self.is_decided();
        let against = self.into_hypothesis(0.0).reasons_against;
        let kept: Vec<Reason> = against
            .into_iter()
            .take(if decisive { 1 } else { 2 })
            .collect();
        let texts: Vec<&str> = kept.iter().map(|r| r.text.as_str()).collect();
        let why = if texts.is_empty() {
            "Nothing links it to what moved.".to_owned()
        } else {
            texts.join(" ")
        };
        let mut evidence: Vec<EvidenceId> = own;
        evidence.extend(kept.iter().flat_map(|r| r.evidence.iter().copied()));
        evidence.sort();
        evidence.dedup();
        RuledOut {
            entity,
            why,
            evidence,
        }
    }

    fn is_decided(&self) -> bool {
        self.reasons
            .iter()
            .any(|(_, r)| r.weight <= weights::DECISIVE)
    }
}
