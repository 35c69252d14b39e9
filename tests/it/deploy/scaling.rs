//! Why what the hook wants, and lag + pending behind it: the same arithmetic on each signal, over
//! recorded runs. Whole nights are in `night`.

use super::hpa::{Hpa, Rules, Step};

/// Seconds between two syncs.
pub(super) const SYNC: u64 = 15;

#[test]
fn the_arithmetic_of_one_sync() {
    let check = |target: f64, current: u32, metric: f64, expect: u32| {
        let rules = Rules::default_for(target, 1, 5);
        assert_eq!(
            rules.desired(current, metric),
            expect,
            "{current} at {metric}"
        );
    };
    check(5.0, 1, 12.0, 3);
    check(5.0, 1, 23.0, 5);
    check(5.0, 1, 42.0, 9);
    // 16 / 15 is within the tolerance, 17 / 15 is not.
    check(5.0, 3, 16.0, 3);
    check(5.0, 3, 17.0, 4);
    check(4.0, 1, 0.0, 0);
    check(4.0, 1, 4.0, 1);
    check(4.0, 1, 5.0, 2);
    check(4.0, 5, 12.0, 3);
    check(4.0, 1, 17.0, 5);
}

#[test]
fn the_rate_upwards_is_four_pods_or_double_in_15_seconds() {
    let mut hpa = Hpa::new(Rules::default_for(1.0, 1, 100), 1);
    let got: Vec<u32> = (1..=5).map(|n| hpa.sync(n * SYNC, 64.0)).collect();
    assert_eq!(got, [5, 10, 20, 40, 64]);
    // Twice within one period: the second sync may not add another four.
    let mut hpa = Hpa::new(Rules::default_for(1.0, 1, 100), 1);
    assert_eq!((hpa.sync(15, 64.0), hpa.sync(20, 64.0)), (5, 5));
}

#[test]
fn the_manifest_takes_away_one_pod_a_minute_after_five_quiet_minutes() {
    let rules = Rules::of_the_manifest();
    assert_eq!(
        rules,
        Rules {
            down: vec![(Step::Pods(1.0), 60)],
            ..Rules::default_for(4.0, 1, 5)
        }
    );
    let mut hpa = Hpa::new(rules, 1);
    assert_eq!(hpa.sync(SYNC, 40.0), 5);
    let mut fell = Vec::new();
    for n in 2..60 {
        let before = hpa.replicas;
        if hpa.sync(n * SYNC, 0.0) < before {
            fell.push((n * SYNC, hpa.replicas));
        }
    }
    assert_eq!(fell, [(315, 4), (375, 3), (435, 2), (495, 1)]);
}

/// Measured runs: target 5, 1 to 5 replicas, the window downwards cut to 15 s, the other rules the
/// controller's own. Each step is what the signal said for a while and the replicas that were seen at
/// the end of it.
#[test]
fn the_arithmetic_agrees_with_measured_runs() {
    let check = |steps: &[(f64, u64, u32)]| {
        let mut hpa = Hpa::new(
            Rules {
                down_window: 15,
                ..Rules::default_for(5.0, 1, 5)
            },
            1,
        );
        let mut at = 0;
        for (metric, syncs, expect) in steps {
            for _ in 0..*syncs {
                at += SYNC;
                hpa.sync(at, *metric);
            }
            assert_eq!(hpa.replicas, *expect, "{metric} in {steps:?}");
        }
    };
    // Pending alone: 40 wait unread, one worker takes one, then prefetches 12, then 23, acks all.
    check(&[
        (0.0, 3, 1),
        (1.0, 2, 1),
        (12.0, 1, 3),
        (23.0, 1, 5),
        (0.0, 2, 1),
    ]);
    // Lag alone: 12 arrive, then all are delivered and being worked on.
    check(&[(12.0, 1, 3), (0.0, 2, 1)]);
    // Lag + pending: 12 arrive, all in flight for a while, 30 more, acked.
    check(&[(12.0, 1, 3), (12.0, 3, 3), (42.0, 1, 5), (0.0, 2, 1)]);
}

/// What each side of the formula says at one moment; none where it cannot be asked.
#[derive(Debug, Clone, Copy)]
struct Told {
    want: Option<f64>,
    lag: Option<f64>,
    pending: Option<f64>,
}

impl Told {
    /// `want ?? (lag + pending)`; none holds what runs.
    fn formula(self) -> Option<f64> {
        self.want.or_else(|| Some(self.lag? + self.pending?))
    }
}

/// One moment of a recorded run: what the streams held (lag as the server told it), and how many
/// replicas were seen at the end with the signal of that run.
struct Moment {
    lag: Option<f64>,
    pending: f64,
    /// What was really to be done.
    backlog: f64,
    syncs: u64,
    seen: u32,
}

/// Runs a signal over the moments of a recorded run, by the rules under which it was recorded.
fn replay(moments: &[Moment], signal: impl Fn(&Moment) -> Option<f64>) -> Vec<u32> {
    let rules = Rules {
        down_window: 15,
        ..Rules::default_for(5.0, 1, 5)
    };
    let (mut hpa, mut at) = (Hpa::new(rules, 1), 0);
    let mut seen = Vec::new();
    for moment in moments {
        for _ in 0..moment.syncs {
            at += SYNC;
            // Without a number nothing changes.
            if let Some(metric) = signal(moment) {
                hpa.sync(at, metric);
            }
        }
        seen.push(hpa.replicas);
    }
    seen
}

/// The recorded runs: what was seen with the signal of that time, and what ours makes of the same
/// moments while the hook answers and while it does not.
#[test]
fn recorded_runs_under_the_old_signals_and_ours() {
    let moment = |lag: f64, pending: f64, syncs: u64, seen: u32| Moment {
        lag: Some(lag),
        pending,
        backlog: lag + pending,
        syncs,
        seen,
    };
    let no_lag = |pending: f64, backlog: f64, syncs: u64, seen: u32| Moment {
        lag: None,
        pending,
        backlog,
        syncs,
        seen,
    };
    // What KEDA made of the old signals: no lag was 0.
    let lag = |m: &Moment| Some(m.lag.unwrap_or(0.0));
    let pending = |m: &Moment| Some(m.pending);
    // One piece of work wants one place; the hook knows it whatever the server says of its lag.
    let ours = |m: &Moment| {
        let told = Told {
            want: Some(m.backlog),
            lag: m.lag,
            pending: Some(m.pending),
        };
        told.formula()
    };
    let without_hook = |m: &Moment| {
        let told = Told {
            want: None,
            lag: m.lag,
            pending: Some(m.pending),
        };
        told.formula()
    };
    let check = |name: &str,
                 old: &dyn Fn(&Moment) -> Option<f64>,
                 moments: &[Moment],
                 expect: &[u32],
                 expect_without: &[u32]| {
        let seen: Vec<u32> = moments.iter().map(|m| m.seen).collect();
        assert_eq!(replay(moments, old), seen, "{name}: as it was recorded");
        assert_eq!(replay(moments, ours), expect, "{name}: ours");
        let without = replay(moments, without_hook);
        assert_eq!(without, expect_without, "{name}: ours without the hook");
    };
    // 40 wait and nobody reads; then one worker reads 1, 12, 23; then all it has is acknowledged.
    let unread = [
        moment(40.0, 0.0, 3, 1),
        moment(39.0, 1.0, 2, 1),
        moment(28.0, 12.0, 1, 3),
        moment(17.0, 23.0, 1, 5),
        moment(17.0, 0.0, 2, 1),
    ];
    check(
        "S1 pending",
        &pending,
        &unread,
        &[5, 5, 5, 5, 4],
        &[5, 5, 5, 5, 4],
    );
    // 12 wait, then all are in flight.
    let busy = [moment(12.0, 0.0, 1, 3), moment(0.0, 12.0, 3, 1)];
    check("S2 lag", &lag, &busy, &[3, 3], &[3, 3]);
    // Workers delete what they did, one is slow: the server knows no lag any more. Ours never deletes
    // single entries; if somebody else does, the hook counts and the formula without it fails and holds.
    let deleted = [no_lag(1.0, 37.0, 3, 1), moment(36.0, 1.0, 1, 5)];
    check("S4 lag", &lag, &deleted, &[5, 5], &[1, 5]);
    // The stream is gone: an empty queue for lag. Ours holds what runs where the hook is away too.
    let gone = [moment(12.0, 0.0, 1, 3), no_lag(0.0, 12.0, 2, 1)];
    check("S7 lag", &lag, &gone, &[3, 3], &[3, 3]);
}

/// The run that was recorded with this very formula: the endpoint says 8, then nothing, then 8 again,
/// then it and the stream are gone.
#[test]
fn the_recorded_run_of_the_formula() {
    let told = |want: Option<f64>, lag: Option<f64>| Told {
        want,
        lag,
        pending: lag.map(|_| 0.0),
    };
    let rules = Rules {
        down_window: 15,
        ..Rules::default_for(5.0, 1, 5)
    };
    let (mut hpa, mut at) = (Hpa::new(rules, 1), 0);
    let mut phase = |told: Told, syncs: u64| {
        for _ in 0..syncs {
            at += SYNC;
            if let Some(metric) = told.formula() {
                hpa.sync(at, metric);
            }
        }
        hpa.replicas
    };
    assert_eq!(phase(told(Some(8.0), Some(23.0)), 2), 2);
    // The first failures are held: only after three is the trigger left out of the formula.
    assert_eq!(phase(told(None, None), 2), 2);
    assert_eq!(phase(told(None, Some(23.0)), 1), 5);
    assert_eq!(phase(told(Some(8.0), Some(23.0)), 2), 2);
    assert_eq!(phase(told(None, None), 8), 2);
}

/// Between 0 and 1 it is KEDA that decides: active while the formula says more than 0.
#[test]
fn nothing_is_stranded_at_zero() {
    let active = |told: Told| told.formula().map(|metric| metric > 0.0);
    let told = |want: Option<f64>, lag: f64, pending: f64| Told {
        want,
        lag: Some(lag),
        pending: Some(pending),
    };
    // The recorded run with lag alone: the event was claimed, its worker was taken away, and lag was 0
    // for ever. Claimed by the dead, it still counts here, with the hook and without.
    assert_eq!(active(told(Some(1.0), 0.0, 1.0)), Some(true));
    assert_eq!(active(told(None, 0.0, 1.0)), Some(true));
    assert_eq!(active(told(Some(0.0), 0.0, 0.0)), Some(false));
    let unknown = Told {
        want: None,
        lag: None,
        pending: Some(0.0),
    };
    assert_eq!(active(unknown), None, "no number is not zero");
}
