//! Why lag + pending: the same arithmetic on each signal, over measured runs and over a night.

use super::hpa::{Hpa, Rules, Step};

/// Seconds between two syncs.
const SYNC: u64 = 15;

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

/// Which number the autoscaler looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Lag,
    Pending,
    Both,
}

/// What a night came to.
#[derive(Debug, PartialEq, Eq)]
struct Night {
    /// Most replicas there ever were.
    most: u32,
    /// Incidents whose replica was taken away while they were worked on.
    disturbed: usize,
    /// Minutes until the last incident was done; none if that was not within four hours.
    done: Option<u64>,
}

/// 24 incidents at once, ten minutes of work each, `target` of them at a time on one replica.
fn night(signal: Signal) -> Night {
    const WORK: u64 = 600;
    let rules = Rules::of_the_manifest();
    let at_once = dispatcher::Config::default().work.concurrency;
    let mut hpa = Hpa::new(rules, 1);
    let (mut waiting, mut busy) = (24_usize, Vec::<u64>::new());
    let mut night = Night {
        most: 1,
        disturbed: 0,
        done: None,
    };
    for sync in 1..960 {
        let at = sync * SYNC;
        busy.retain(|until| *until > at);
        let metric = match signal {
            Signal::Lag => waiting,
            Signal::Pending => busy.len(),
            Signal::Both => waiting + busy.len(),
        };
        let metric = f64::from(u32::try_from(metric).expect("few"));
        let capacity = hpa.sync(at, metric) as usize * at_once;
        night.most = night.most.max(hpa.replicas);
        // Who has no replica any more is handed to another one and goes on there.
        if busy.len() > capacity {
            night.disturbed += busy.len() - capacity;
            waiting += busy.len() - capacity;
            busy.truncate(capacity);
        }
        while waiting > 0 && busy.len() < capacity {
            waiting -= 1;
            busy.push(at + WORK);
        }
        if waiting == 0 && busy.is_empty() {
            night.done = Some(at / 60);
            break;
        }
    }
    night
}

#[test]
fn only_the_sum_scales_out_and_keeps_what_works() {
    assert_eq!(
        night(Signal::Both),
        Night {
            most: 5,
            disturbed: 0,
            done: Some(20)
        }
    );
    // Never more than one: what a replica holds is at most its own share.
    let pending = night(Signal::Pending);
    assert_eq!((pending.most, pending.disturbed), (1, 0));
    assert_eq!(pending.done, Some(60));
    // Everything is handed out, so replicas that work are taken away.
    let lag = night(Signal::Lag);
    assert_eq!(lag.most, 5);
    assert!(lag.disturbed > 0, "{lag:?}");
}
