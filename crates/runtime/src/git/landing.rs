//! When a commit landed on the base branch, although commits may lie about their time.
//!
//! The committer time is written by whoever makes the commit. What cannot be forged is the order of
//! the first-parent chain: a commit landed no earlier than its parent. So the largest set of commits
//! whose times agree with that order is believed (one wrong clock is outvoted by the rest), and a
//! commit outside of it is taken to have landed right after the believed one before it. A time in the
//! future is never believed. A lie that fits between its neighbours cannot be seen from history.

use jiff::{SignedDuration, Timestamp};

use super::oid::Oid;

/// How far ahead of our clock a committer's may be.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// One step of the base branch: a commit or a merge, as it landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The commit.
    pub commit: Oid,
    /// Its parents; the first is the base branch before it.
    pub parents: Vec<Oid>,
    /// The committer time it claims, if that is a time at all.
    pub claimed: Option<Timestamp>,
    /// When it landed, as far as the history can say.
    pub at: Timestamp,
}

impl Landing {
    /// Whether the time it claims contradicts the history around it.
    pub fn claim_refuted(&self) -> bool {
        self.claimed != Some(self.at)
    }
}

/// Believed times for commits in order of age, oldest first, as of `now`.
pub(super) fn believe(claimed: &[Option<Timestamp>], now: Timestamp) -> Vec<Timestamp> {
    let latest = now.checked_add(SKEW_MAX).unwrap_or(Timestamp::MAX);
    let plausible: Vec<Option<Timestamp>> = claimed
        .iter()
        .map(|at| at.filter(|at| *at <= latest))
        .collect();
    let believed = longest_run(&plausible);
    let mut last = claimed_floor(&plausible, &believed);
    let mut times = Vec::with_capacity(claimed.len());
    for (at, believed) in plausible.iter().zip(&believed) {
        if let (Some(at), true) = (at, believed) {
            last = *at;
        }
        times.push(last);
    }
    times
}

/// For commits before the first believed one: the first believed time.
fn claimed_floor(times: &[Option<Timestamp>], believed: &[bool]) -> Timestamp {
    let first = times.iter().zip(believed).find(|(_, believed)| **believed);
    first
        .and_then(|(at, _)| *at)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Marks the longest subsequence that never goes back; of several, one that ends latest, so that a
/// commit dated into the past cannot pull its honest parent along. Quadratic in a bounded list.
fn longest_run(times: &[Option<Timestamp>]) -> Vec<bool> {
    let mut length = vec![0usize; times.len()];
    let mut before: Vec<Option<usize>> = vec![None; times.len()];
    for (i, at) in times.iter().enumerate() {
        let Some(at) = at else { continue };
        let best = (0..i)
            .filter(|j| times[*j].is_some_and(|earlier| earlier <= *at))
            .max_by_key(|j| (length[*j], times[*j]));
        length[i] = 1 + best.map_or(0, |j| length[j]);
        before[i] = best;
    }
    let mut marked = vec![false; times.len()];
    let mut at = (0..times.len())
        .filter(|i| length[*i] > 0)
        .max_by_key(|i| (length[*i], times[*i]));
    while let Some(i) = at {
        marked[i] = true;
        at = before[i];
    }
    marked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    /// Minutes in, minutes out; -1 is a time that cannot be read. Now is minute 1000.
    fn check(claimed: &[i64], expect: &[i64]) {
        let claimed: Vec<_> = claimed
            .iter()
            .map(|m| (*m != -1).then(|| time(*m)))
            .collect();
        let expect: Vec<_> = expect.iter().map(|m| time(*m)).collect();
        assert_eq!(believe(&claimed, time(1000)), expect);
    }

    #[test]
    fn a_lie_is_outvoted() {
        check(&[10, 20, 30], &[10, 20, 30]);
        check(&[10, 20, -5000, 30], &[10, 20, 20, 30]);
        check(&[10, 900, 20, 30], &[10, 10, 20, 30]);
        check(&[10, 20, -5000], &[10, 20, 20]);
        check(&[500, 10], &[500, 500]);
        check(&[10, 99_999, 20], &[10, 10, 20]);
        check(&[-1, 10, -1], &[10, 10, 10]);
        check(&[7, 7, 7], &[7, 7, 7]);
    }

    proptest! {
        #[test]
        fn honest_histories_are_believed(mut minutes in prop::collection::vec(0i64..1000, 0..60)) {
            minutes.sort_unstable();
            check(&minutes, &minutes);
        }

        #[test]
        fn times_never_go_back(minutes in prop::collection::vec(-9000i64..9000, 0..60)) {
            let claimed: Vec<_> = minutes.iter().map(|m| Some(time(*m))).collect();
            let times = believe(&claimed, time(1000));
            prop_assert!(times.is_sorted());
            prop_assert!(times.iter().all(|at| *at <= time(1005) ));
        }

        #[test]
        fn one_liar_moves_nobody_else(steps in prop::collection::vec(1i64..20, 3..40), lie in -9000i64..9000, who in any::<prop::sample::Index>()) {
            let honest: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let who = who.index(honest.len());
            let mut told = honest.clone();
            told[who] = lie;
            let claimed: Vec<_> = told.iter().map(|m| Some(time(*m))).collect();
            let times = believe(&claimed, time(1000));
            // Beside the liar itself at most one honest neighbour can look like the liar instead.
            let moved = (0..honest.len()).filter(|i| *i != who && times[*i] != time(honest[*i])).count();
            prop_assert!(moved <= 1, "{moved}");
        }
    }
}
