//! Turns, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Clock, Cx, NotifyError};
use runtime::testing::TestClock;

use crate::slack::gate::Gate;

const GAP: Duration = Duration::from_secs(1);

fn cx(clock: &Arc<TestClock>, within: u64) -> Cx {
    Cx::root(clock.clone(), Duration::from_secs(within), "0".repeat(32))
}

/// Takes a turn at once and says after how many seconds it had it.
async fn send(gate: &Gate, cx: &Cx) -> Result<u64, NotifyError> {
    let turn = gate.turn(cx).await?;
    let at = cx.clock.elapsed().as_secs();
    drop(turn);
    Ok(at)
}

#[tokio::test(start_paused = true)]
async fn turns_keep_their_distance_and_few_wait() {
    let clock = TestClock::at(super::shown::at(0));
    let gate = Gate::new(GAP, 1);
    let cx = cx(&clock, 60);
    let start = clock.elapsed().as_secs();
    let all = tokio::join!(
        send(&gate, &cx),
        send(&gate, &cx),
        send(&gate, &cx),
        send(&gate, &cx)
    );
    let after = |at: Result<u64, NotifyError>| at.map(|at| at - start);
    assert_eq!(after(all.0), Ok(0));
    assert_eq!(after(all.1), Ok(1));
    assert_eq!(after(all.2), Ok(2));
    assert!(
        matches!(all.3, Err(NotifyError::Limited { .. })),
        "one was sent, one is next, one waits, the fourth is put off"
    );
    assert_eq!(after(send(&gate, &cx).await), Ok(3), "room again");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_time_sends_nothing_and_holds_nobody_up() {
    let clock = TestClock::at(super::shown::at(0));
    let gate = Gate::new(GAP, 8);
    let (short, long) = (cx(&clock, 0), cx(&clock, 60));
    let start = clock.elapsed().as_secs();
    let first = send(&gate, &long).await;
    assert_eq!(first.map(|at| at - start), Ok(0));
    assert!(matches!(
        send(&gate, &short).await,
        Err(NotifyError::Away { .. })
    ));
    let next = send(&gate, &long).await;
    assert_eq!(next.map(|at| at - start), Ok(1));
}

/// Slack asks one sender for patience: everybody behind has it too.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_asked_for_holds_for_all() {
    let clock = TestClock::at(super::shown::at(0));
    let gate = Gate::new(GAP, 8);
    let (short, long) = (cx(&clock, 5), cx(&clock, 60));
    let start = clock.elapsed().as_secs();
    let mut turn = gate.turn(&short).await.unwrap();
    let asked = Duration::from_secs(30);
    assert!(!turn.wait(asked, &short).await, "no time for that");
    drop(turn);
    let next = send(&gate, &long).await;
    assert_eq!(next.map(|at| at - start), Ok(30));
    let mut turn = gate.turn(&long).await.unwrap();
    assert!(turn.wait(GAP, &long).await);
}
