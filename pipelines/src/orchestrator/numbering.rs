//! Numbering: from replies to E1, E2 ...; a pure function, so that a resumed run numbers alike.

use std::collections::BTreeSet;

use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::{Evidence, EvidenceId, Fact, Gap, Observation, Window};

/// How much is numbered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) observations_max: usize,
    pub(super) bytes_max: usize,
}

/// Numbers the facts: the alert first, then the specialists in their order, each reply in its order.
/// The same observation twice is one fact. Where not everything fits, the specialists take turns, so
/// that none is left out because another had much to say; what is left out is counted in a gap.
pub(super) fn number(
    request: &EvidenceRequest,
    replies: Vec<EvidenceReply>,
    limits: Limits,
) -> (Vec<Evidence>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut offers = vec![Vec::from_iter(alert(request))];
    for reply in replies {
        gaps.extend(reply.gaps);
        offers.push(reply.observations);
    }
    let offers: Vec<Vec<Offer>> = distinct(offers, &mut gaps);
    let offered: usize = offers.iter().map(Vec::len).sum();
    let takes = take_turns(&offers, limits);
    let mut evidence = Vec::new();
    for (offers, take) in offers.into_iter().zip(takes) {
        for offer in offers.into_iter().take(take) {
            let number = u32::try_from(evidence.len() + 1).unwrap_or(u32::MAX);
            evidence.push(Evidence {
                id: EvidenceId(number),
                digest: offer.digest,
                observation: offer.observation,
            });
        }
    }
    if offered > evidence.len() {
        gaps.push(Gap {
            source: agent::ORCHESTRATOR.to_owned(),
            what: format!("{} further observations", offered - evidence.len()),
            why: "a report has room for observations_max facts of evidence_bytes_max together"
                .to_owned(),
        });
    }
    (evidence, gaps)
}

struct Offer {
    digest: incident::digest::Digest,
    bytes: usize,
    observation: Observation,
}

fn distinct(offers: Vec<Vec<Observation>>, gaps: &mut Vec<Gap>) -> Vec<Vec<Offer>> {
    let mut seen = BTreeSet::new();
    let mut weigh = |observation: Observation| {
        let weighed = observation.digest().and_then(|digest| {
            let bytes = serde_json::to_vec(&observation)?.len();
            Ok((digest, bytes))
        });
        match weighed {
            Ok((digest, bytes)) => seen.insert(digest.clone()).then_some(Offer {
                digest,
                bytes,
                observation,
            }),
            Err(error) => {
                gaps.push(Gap {
                    source: observation.source,
                    what: "one observation".to_owned(),
                    why: format!("it cannot be written as JSON: {error}"),
                });
                None
            }
        }
    };
    offers
        .into_iter()
        .map(|offers| offers.into_iter().filter_map(&mut weigh).collect())
        .collect()
}

/// How many of each list are taken, one of each in turn until the limits.
fn take_turns(offers: &[Vec<Offer>], limits: Limits) -> Vec<usize> {
    let mut takes = vec![0; offers.len()];
    let (mut facts, mut bytes) = (0, 0);
    loop {
        let before = facts;
        for (offers, take) in offers.iter().zip(&mut takes) {
            let Some(offer) = offers.get(*take) else {
                continue;
            };
            if facts >= limits.observations_max || bytes + offer.bytes > limits.bytes_max {
                continue;
            }
            *take += 1;
            facts += 1;
            bytes += offer.bytes;
        }
        if facts == before {
            return takes;
        }
    }
}

/// The alert itself, as a fact.
fn alert(request: &EvidenceRequest) -> Option<Observation> {
    let lead = request.incident.lead()?;
    let members = &request.incident.members;
    let (fingerprint, _) = members.iter().find(|(_, member)| *member == lead)?;
    let end = lead.ends_at.unwrap_or(request.window.end);
    let alerts = members.len() as u64 + request.incident.members_left_out;
    let more = match alerts {
        0 | 1 => String::new(),
        n => format!(", the most severe of {n} alerts of the incident"),
    };
    Some(Observation {
        source: agent::TRIAGE.to_owned(),
        query: format!("nightshift explain {fingerprint}"),
        window: Window::between(lead.starts_at, end.max(lead.starts_at)),
        cluster: request.incident.subject.cluster.clone(),
        summary: format!(
            "{} fires on {} since {}{more}.",
            lead.alert.one_line(100),
            request.incident.subject.display(),
            lead.starts_at
        ),
        fact: Fact::Alert {
            name: lead.alert.clone(),
            starts_at: lead.starts_at,
        },
        link: (!lead.generator_url.is_empty()).then(|| lead.generator_url.clone()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    fn request() -> EvidenceRequest {
        EvidenceRequest {
            incident: sample::incident(),
            window: Window::between(sample::at(-3600), sample::at(600)),
            fired_at: sample::at(sample::FIRED),
        }
    }

    fn reply(source: usize, texts: &[u8]) -> EvidenceReply {
        let observation = |text: &u8| Observation {
            source: format!("agent-{source}"),
            query: "status".to_owned(),
            window: request().window,
            cluster: None,
            summary: format!("status {text}"),
            fact: Fact::Text {
                text: text.to_string().into(),
            },
            link: None,
        };
        EvidenceReply {
            observations: texts.iter().map(observation).collect(),
            gaps: Vec::new(),
        }
    }

    fn check(replies: &[&[u8]], observations_max: usize, expect: &str) {
        let replies = replies.iter().enumerate().map(|(i, r)| reply(i, r));
        let limits = Limits {
            observations_max,
            bytes_max: 1 << 20,
        };
        let (evidence, gaps) = number(&request(), replies.collect(), limits);
        let mut lines: Vec<String> = evidence
            .iter()
            .map(|e| {
                format!(
                    "{} {} {}",
                    e.id, e.observation.source, e.observation.summary
                )
            })
            .collect();
        lines.extend(gaps.into_iter().map(|gap| format!("gap: {}", gap.what)));
        assert_eq!(lines.join("\n"), expect);
    }

    const ALERT: &str =
        "E1 triage-agent CheckoutErrorRateHigh fires on shop/checkout since 2026-03-14T12:05:00Z.";

    #[test]
    fn the_alert_is_first_and_repeats_are_one() {
        let rest = "\nE2 agent-0 status 7\nE3 agent-0 status 8\nE4 agent-1 status 7";
        check(&[&[7, 8, 7], &[7]], 60, &format!("{ALERT}{rest}"));
    }

    #[test]
    fn specialists_take_turns_where_room_is_short() {
        let rest = "\nE2 agent-0 status 1\nE3 agent-0 status 2\nE4 agent-1 status 9\ngap: 3 further observations";
        check(&[&[1, 2, 3, 4, 5], &[9]], 4, &format!("{ALERT}{rest}"));
    }

    proptest! {
        #[test]
        fn numbers_are_consecutive_distinct_and_account_for_all(
            replies in prop::collection::vec(prop::collection::vec(0_u8..20, 0..12), 0..5),
            observations_max in 1_usize..40,
            bytes_max in 0_usize..8000,
        ) {
            let given: Vec<EvidenceReply> =
                replies.iter().enumerate().map(|(i, r)| reply(i, r)).collect();
            let distinct: usize = replies
                .iter()
                .map(|r| r.iter().collect::<BTreeSet<_>>().len())
                .sum();
            let limits = Limits { observations_max, bytes_max };
            let (evidence, gaps) = number(&request(), given.clone(), limits);
            let again = number(&request(), given, limits);
            prop_assert_eq!(&again.0, &evidence);
            let ids: Vec<u32> = evidence.iter().map(|e| e.id.0).collect();
            prop_assert_eq!(ids, (1..).take(evidence.len()).collect::<Vec<u32>>());
            let digests: BTreeSet<_> = evidence.iter().map(|e| e.digest.clone()).collect();
            prop_assert_eq!(digests.len(), evidence.len());
            prop_assert!(evidence.len() <= observations_max);
            let left_out = distinct + 1 - evidence.len();
            prop_assert_eq!(left_out > 0, !gaps.is_empty());
            if let Some(gap) = gaps.first() {
                prop_assert_eq!(&gap.what, &format!("{left_out} further observations"));
            }
        }
    }
}
