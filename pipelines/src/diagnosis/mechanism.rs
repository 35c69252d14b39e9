//! What kind of trouble an edit can make, against the kind of trouble that is seen.

use std::collections::BTreeSet;

use incident::SeriesRole;

use super::edits::{Edit, Edits, Knob};
use super::weights;
use super::words::Words;

/// How an edit would produce what was seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mechanism {
    /// What the edit does, as a sentence about "it".
    pub(super) act: String,
    /// How that would produce what was seen.
    pub(super) effect: String,
    /// Weight of the fit; zero or less if it is no fit.
    pub(super) weight: f64,
    /// Whether a limit was moved in a harmful direction.
    pub(super) is_limit: bool,
}

/// A family of settings: words of their names, and what lowering or raising them does.
struct Family {
    words: &'static [&'static str],
    lowered: Option<(&'static [SeriesRole], &'static str)>,
    raised: Option<(&'static [SeriesRole], &'static str)>,
}

use SeriesRole::{Errors, Latency, Saturation, Traffic};

/// Word stems. Of the families that know a word of the line, the first that the direction harms decides.
const FAMILIES: &[Family] = &[
    Family {
        words: &[
            "fail", "fault", "error", "drop", "reject", "abort", "chaos", "corrupt",
        ],
        lowered: None,
        raised: Some((&[Errors, Latency], "more requests fail")),
    },
    Family {
        words: &[
            "timeout", "deadlin", "ttl", "expiry", "expir", "expires", "grace", "patienc",
            "keepaliv",
        ],
        lowered: Some((
            &[Errors, Latency, Saturation, Traffic],
            "things are given up or expire sooner, so work fails or is done again",
        )),
        raised: Some((
            &[Latency, Saturation],
            "slow calls are waited for longer and hold what they use",
        )),
    },
    Family {
        words: &["retry", "attempt", "retries"],
        lowered: Some((&[Errors], "passing failures are no longer tried again")),
        raised: Some((
            &[Traffic, Saturation, Latency, Errors],
            "failed calls come again and add load",
        )),
    },
    Family {
        words: &[
            "delay", "sleep", "latency", "wait", "backoff", "jitter", "pause",
        ],
        lowered: Some((&[Traffic, Saturation], "the work is done more often")),
        raised: Some((&[Latency, Saturation, Errors], "requests take longer")),
    },
    Family {
        words: &["interval", "period", "frequency"],
        lowered: Some((&[Traffic, Saturation], "the work is done more often")),
        raised: None,
    },
    Family {
        words: &[
            "budget",
            "buffer",
            "burst",
            "cache",
            "capacity",
            "concurrency",
            "connect",
            "cpu",
            "heap",
            "inflight",
            "limit",
            "limits",
            "max",
            "maximum",
            "memory",
            "parallel",
            "parallelism",
            "permit",
            "pool",
            "queu",
            "quota",
            "replica",
            "scal",
            "semaphor",
            "slot",
            "thread",
            "throughput",
            "worker",
        ],
        lowered: Some((
            &[Saturation, Latency, Errors],
            "there is less room, so it fills sooner and requests wait or fail",
        )),
        raised: None,
    },
    Family {
        words: &[
            "batch", "chunk", "depth", "fanout", "iterat", "loop", "page", "round", "rounds",
            "work",
        ],
        lowered: None,
        raised: Some((&[Latency, Saturation], "each request does more work")),
    },
];

/// Asked only where no other family knows the word: `pool_size` is a pool, not a size.
const GENERIC: Family = Family {
    words: &["size"],
    lowered: Some((
        &[Saturation, Latency, Errors],
        "there is less room, so it fills sooner and requests wait or fail",
    )),
    raised: Some((&[Latency, Saturation], "each request does more work")),
};

/// Words of an alert that say what kind of trouble it is, for alerts without telling series.
const ROLE_WORDS: &[(SeriesRole, &[&str])] = &[
    (
        Errors,
        &[
            "error",
            "fail",
            "failur",
            "xx",
            "except",
            "panic",
            "unavail",
            "unavailabl",
        ],
    ),
    (
        Latency,
        &["latency", "durat", "slow", "apdex", "delay", "lag"],
    ),
    (
        Saturation,
        &[
            "capacity", "cpu", "disk", "exhaust", "full", "memory", "oom", "pool", "queu", "satur",
            "saturat", "throttl",
        ],
    ),
];

/// The kinds of trouble that the words of an alert name.
pub(super) fn roles_named(words: &Words) -> BTreeSet<SeriesRole> {
    let named = |stems: &[&str]| stems.iter().any(|stem| words.contains(*stem));
    ROLE_WORDS
        .iter()
        .filter(|(_, stems)| named(stems))
        .map(|(role, _)| *role)
        .collect()
}

/// The best fit among the edits of a commit.
pub(super) fn best(edits: &Edits, seen: &BTreeSet<SeriesRole>) -> Option<Mechanism> {
    let mut found: Vec<Mechanism> = edits.found.iter().map(|edit| of(edit, seen)).collect();
    if edits.removed_lines > 0 {
        found.push(Mechanism {
            act: format!(
                "It removes {} without a replacement, first `{}`.",
                crate::phrase::count(edits.removed_lines, "line"),
                edits.removed_sample
            ),
            effect: "What they did is no longer done.".to_owned(),
            weight: weights::REMOVAL,
            is_limit: false,
        });
    }
    // On a tie the first edit of the diff wins: `max_by` would take the last.
    found
        .into_iter()
        .reduce(|a, b| if b.weight > a.weight { b } else { a })
}

fn of(edit: &Edit, seen: &BTreeSet<SeriesRole>) -> Mechanism {
    let plain = |act: String, effect: &str, weight| Mechanism {
        act,
        effect: effect.to_owned(),
        weight,
        is_limit: false,
    };
    match edit {
        Edit::Knob(knob) => of_knob(knob, seen),
        Edit::Switch { name, to, path } => plain(
            format!("It switches `{name}` to `{to}` in {path}."),
            "Another path of the program runs.",
            weights::SWITCH,
        ),
        Edit::Version { from, to, path } => plain(
            format!("It moves {path} from version {from} to {to}."),
            "Other code runs under the same name.",
            weights::VERSION,
        ),
        Edit::Setting { name, path } => plain(
            format!("It sets `{name}` to another value in {path}."),
            "The program is configured differently.",
            weights::SETTING,
        ),
    }
}

fn of_knob(knob: &Knob, seen: &BTreeSet<SeriesRole>) -> Mechanism {
    let lowered = knob.ratio_ln < 0.0;
    let verb = if lowered { "lowers" } else { "raises" };
    let act = format!(
        "It {verb} `{}` from {} to {} in {}.",
        knob.name, knob.from, knob.to, knob.path
    );
    let knows = |family: &&Family| family.words.iter().any(|word| knob.words.contains(*word));
    let mut families: Vec<&Family> = FAMILIES.iter().filter(knows).collect();
    if families.is_empty() && knows(&&GENERIC) {
        families.push(&GENERIC);
    }
    let harm = families.iter().find_map(|family| {
        if lowered {
            family.lowered
        } else {
            family.raised
        }
    });
    if let Some((roles, effect)) = harm {
        // A number that moved by half or more counts in full, a nudge hardly.
        let strength = (knob.ratio_ln.abs() / std::f64::consts::LN_2).min(1.0);
        let fits = seen.is_empty() || roles.iter().any(|role| seen.contains(role));
        let certainty = if seen.is_empty() { 0.5 } else { 1.0 };
        let effect = format!("{effect}.");
        return Mechanism {
            act,
            effect: crate::phrase::capital(&effect),
            weight: if fits {
                weights::KNOB_FITS * strength * certainty
            } else {
                0.0
            },
            is_limit: fits,
        };
    }
    let relieves = !families.is_empty();
    Mechanism {
        act,
        effect: if relieves {
            "That relieves rather than loads.".to_owned()
        } else {
            "A number means something else now.".to_owned()
        },
        weight: if relieves {
            weights::KNOB_RELIEVES
        } else {
            weights::SETTING
        },
        is_limit: false,
    }
}
