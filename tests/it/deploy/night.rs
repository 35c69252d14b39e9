//! What a night comes to under each signal: the autoscaler's arithmetic over work that arrives at once.

use std::collections::BTreeMap;
use std::time::Duration;

use hook::scaling::{Load, want};
use incident::ports::Backlog;
use incident::{Pace, Severity};

use super::hpa::{Hpa, Rules};
use super::scaling::SYNC;

/// Which number the autoscaler looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Lag,
    Pending,
    Both,
    /// What the hook asks for.
    Want(Severity),
}

/// What comes in at once.
#[derive(Debug, Clone, Copy)]
struct Storm {
    incidents: usize,
    /// Seconds of work each.
    work: u64,
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

/// What the hook asks for while so much waits and runs.
fn wanted(lane: Severity, waiting: usize, busy: usize, storm: Storm) -> f64 {
    let mut pace = Pace::default();
    for _ in 0..Pace::KEPT {
        pace.note(Duration::from_secs(storm.work));
    }
    let backlog = Backlog {
        waiting: waiting as u64,
        claimed: busy as u64,
        ..Backlog::default()
    };
    let load = |lane: &str, backlog| Load::new(backlog, &pace, lane);
    let work = BTreeMap::from([(lane, load(lane.lane(), backlog))]);
    let capacity = hook::Capacity {
        work: dispatcher::Config::default().work.concurrency,
        triage: 2,
        work_max: None,
    };
    let idle = load(Pace::EVENTS, Backlog::default());
    let want = want(&idle, &work, capacity, &hook::scaling::Config::default());
    f64::from(u32::try_from(want.places).expect("few"))
}

fn night(signal: Signal, storm: Storm) -> Night {
    let rules = Rules::of_the_manifest();
    let at_once = dispatcher::Config::default().work.concurrency;
    let mut hpa = Hpa::new(rules, 1);
    let (mut waiting, mut busy) = (storm.incidents, Vec::<u64>::new());
    let mut night = Night {
        most: 1,
        disturbed: 0,
        done: None,
    };
    for sync in 1..960 {
        let at = sync * SYNC;
        busy.retain(|until| *until > at);
        let count = |entries: usize| f64::from(u32::try_from(entries).expect("few"));
        let metric = match signal {
            Signal::Lag => count(waiting),
            Signal::Pending => count(busy.len()),
            Signal::Both => count(waiting + busy.len()),
            Signal::Want(lane) => wanted(lane, waiting, busy.len(), storm),
        };
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
            busy.push(at + storm.work);
        }
        if waiting == 0 && busy.is_empty() {
            night.done = Some(at / 60);
            break;
        }
    }
    night
}

/// 24 incidents at once, ten minutes of work each.
const LONG: Storm = Storm {
    incidents: 24,
    work: 600,
};

#[test]
fn only_the_sum_and_what_is_wanted_scale_out_and_keep_what_works() {
    let whole = Night {
        most: 5,
        disturbed: 0,
        done: Some(20),
    };
    assert_eq!(night(Signal::Both, LONG), whole);
    assert_eq!(night(Signal::Want(Severity::Critical), LONG), whole);
    assert_eq!(night(Signal::Want(Severity::Warning), LONG), whole);
    // Never more than one: what a replica holds is at most its own share.
    let pending = night(Signal::Pending, LONG);
    assert_eq!((pending.most, pending.disturbed), (1, 0));
    assert_eq!(pending.done, Some(60));
    // Everything is handed out, so replicas that work are taken away.
    let lag = night(Signal::Lag, LONG);
    assert_eq!(lag.most, 5);
    assert!(lag.disturbed > 0, "{lag:?}");
}

/// Fifty pieces of little work that nobody is in a hurry for: entries alone ask for every replica.
#[test]
fn what_is_wanted_knows_how_long_work_takes_and_how_urgent_it_is() {
    let quick = Storm {
        incidents: 50,
        work: 15,
    };
    assert_eq!(night(Signal::Both, quick).most, 5);
    let want = night(Signal::Want(Severity::Info), quick);
    assert_eq!((want.most, want.disturbed), (1, 0));
    assert!(want.done.is_some_and(|minutes| minutes <= 15), "{want:?}");
    assert_eq!(night(Signal::Want(Severity::Critical), quick).most, 4);
}
