//! What one alert in Alertmanager and what is known of it come to. Pure.

use incident::{AlertStatus, Disposition, Ruling};
use jiff::{SignedDuration, Timestamp};

/// The newest thing that is known of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// It fires since then.
    Firing(Timestamp),
    /// It ended then.
    Ended(Timestamp),
}

/// An event that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// It fires since then and nobody told us.
    Missed(Timestamp),
    /// It was told to have ended, and goes on. The same beginning was told before, so the new one
    /// lies just behind that end.
    Refired(Timestamp),
}

impl Gap {
    pub(super) fn starts_at(self) -> Timestamp {
        match self {
            Self::Missed(at) | Self::Refired(at) => at,
        }
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Missed(_) => "missed",
            Self::Refired(_) => "refired",
        }
    }
}

/// A second: Alertmanager's clock and ours tell times of one alert apart by more.
const TICK: SignedDuration = SignedDuration::from_secs(1);

/// What is missing of an alert that Alertmanager holds as firing since `starts_at`. An end that was
/// told after `settled` may have been overtaken by this very look.
pub(super) fn gap(known: Known, starts_at: Timestamp, settled: Timestamp) -> Option<Gap> {
    match known {
        Known::Nothing => Some(Gap::Missed(starts_at)),
        Known::Firing(since) => (since < starts_at).then_some(Gap::Missed(starts_at)),
        Known::Ended(at) if at < starts_at => Some(Gap::Missed(starts_at)),
        Known::Ended(at) => {
            let next = at.checked_add(TICK).unwrap_or(Timestamp::MAX);
            (next <= settled).then_some(Gap::Refired(next))
        }
    }
}

/// The newest change that rulings tell of, by when it happened and not by when it was heard of.
pub(super) fn newest<'a>(rulings: impl IntoIterator<Item = &'a Ruling>) -> Known {
    let changes = rulings.into_iter().map(change);
    match changes.max() {
        None => Known::Nothing,
        Some((at, AlertStatus::Firing)) => Known::Firing(at),
        Some((at, AlertStatus::Resolved)) => Known::Ended(at),
    }
}

/// When what a ruling is about happened. Triage writes it down with the ruling; one that does not
/// say is about the time it was made at.
fn change(ruling: &Ruling) -> (Timestamp, AlertStatus) {
    let time = |name: &str| ruling.based_on.get(name)?.parse::<Timestamp>().ok();
    let status = match ruling.based_on.get("status").map(String::as_str) {
        Some("firing") => AlertStatus::Firing,
        Some("resolved") => AlertStatus::Resolved,
        _ if matches!(ruling.disposition, Disposition::Resolved { .. }) => AlertStatus::Resolved,
        _ => AlertStatus::Firing,
    };
    let (start, end) = (time("starts at"), time("ends at"));
    let at = match status {
        AlertStatus::Firing => start,
        AlertStatus::Resolved => end.max(start),
    };
    (at.unwrap_or(ruling.at), status)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use incident::{EventKey, Fingerprint};

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).expect("a time")
    }

    #[test]
    fn what_is_missing_follows_from_what_is_known() {
        let check = |known: Known, expect: Option<Gap>| {
            // Fires since minute 10; an end counts if it was told before minute 30.
            assert_eq!(gap(known, at(10), at(30)), expect, "{known:?}");
        };
        let after = |minute: i64| at(minute).checked_add(TICK).expect("a time");
        check(Known::Nothing, Some(Gap::Missed(at(10))));
        check(Known::Firing(at(10)), None);
        check(Known::Firing(at(12)), None);
        check(Known::Firing(at(9)), Some(Gap::Missed(at(10))));
        check(Known::Ended(at(9)), Some(Gap::Missed(at(10))));
        check(Known::Ended(at(10)), Some(Gap::Refired(after(10))));
        check(Known::Ended(at(29)), Some(Gap::Refired(after(29))));
        check(Known::Ended(at(30)), None);
        check(Known::Ended(at(40)), None);
    }

    fn ruling(status: &str, start: i64, end: Option<i64>, made: i64) -> Ruling {
        let mut based_on = BTreeMap::from([
            (String::from("status"), status.to_owned()),
            (String::from("starts at"), at(start).to_string()),
        ]);
        if let Some(end) = end {
            based_on.insert(String::from("ends at"), at(end).to_string());
        }
        Ruling {
            event: EventKey::from_stored("e"),
            fingerprint: Fingerprint::from_stored("0"),
            alert: String::new(),
            disposition: Disposition::Suppressed { incident: None },
            rule: String::new(),
            based_on,
            at: at(made),
        }
    }

    #[test]
    fn the_newest_change_counts_whenever_it_was_heard_of() {
        assert_eq!(newest([]), Known::Nothing);
        let (fired, ended) = (
            ruling("firing", 10, None, 50),
            ruling("resolved", 10, Some(20), 30),
        );
        assert_eq!(newest([&fired]), Known::Firing(at(10)));
        assert_eq!(newest([&fired, &ended]), Known::Ended(at(20)));
        let again = ruling("firing", 25, None, 26);
        assert_eq!(newest([&again, &ended, &fired]), Known::Firing(at(25)));
        let mut old = ruling("firing", 0, None, 40);
        old.based_on.clear();
        assert_eq!(newest([&old]), Known::Firing(at(40)));
        old.disposition = Disposition::Resolved { incident: None };
        assert_eq!(newest([&old]), Known::Ended(at(40)));
    }
}
