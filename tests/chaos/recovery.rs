//! How long until things work again: a new alert is sent until it is acknowledged, and then watched
//! until it is ruled on.

use std::time::Duration;

use anyhow::{Result, ensure};
use incident::ports::Clock as _;
use jiff::{SignedDuration, Timestamp};
use runtime::SystemClock;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tests::fleet::{self, Alert, Fleet};

use crate::sender::Door;
use crate::system::System;

/// Longest recovery that is waited for.
const WITHIN: Duration = Duration::from_mins(1);
/// Between looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How far a ruling's time may be from the product's wall clock.
const WALL_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// Counted from the moment in which what was hit is up again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) acknowledged_ms: f64,
    pub(crate) ruled_ms: f64,
}

/// Sends alerts of a service of its own, one for each measurement.
#[derive(Debug)]
pub(crate) struct Probe {
    door: Door,
    fleet: Fleet,
    sent: usize,
}

impl Probe {
    pub(crate) fn new(door: Door, fleet: Fleet) -> Self {
        Self {
            door,
            fleet,
            sent: 0,
        }
    }

    /// Sends the next alert again and again, whatever is answered.
    pub(crate) async fn knock_for(&mut self, time: Duration) {
        let body = self.next();
        let clock = SystemClock::new();
        while clock.elapsed() < time {
            self.door.knock(&body).await;
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// The next alert, beyond the fleet's own services.
    fn next(&mut self) -> Value {
        let alert = Alert {
            service: self.fleet.services,
            number: self.sent,
            resolved_at: None,
        };
        self.sent += 1;
        self.fleet.webhook(alert.service, &[alert])
    }

    /// Sends the next alert and waits for it. Processes that end meanwhile are started again.
    pub(crate) async fn measure(&mut self, system: &mut System) -> Result<Recovery> {
        let body = self.next();
        let clock = SystemClock::new();
        loop {
            if self
                .door
                .knock(&body)
                .await
                .is_some_and(|status| status.is_success())
            {
                break;
            }
            system.tend()?;
            ensure!(
                clock.elapsed() < WITHIN,
                "no new alert was acknowledged within {WITHIN:?}\n{}",
                system.logs()
            );
            clock.sleep(LOOK_EVERY).await;
        }
        let acknowledged = clock.elapsed();
        let fingerprint = fleet::events(&body).remove(0).fingerprint;
        let path = format!("/api/v1/alerts/{fingerprint}/rulings");
        let ruling = loop {
            if let Some(page) = self.door.install.get(&path).await {
                break page;
            }
            system.tend()?;
            ensure!(
                clock.elapsed() < WITHIN,
                "a new alert was acknowledged but not ruled on within {WITHIN:?}\n{}",
                system.logs()
            );
            clock.sleep(LOOK_EVERY).await;
        };
        let ruled = clock.elapsed();
        check_wall(system, clock.now(), &ruling)?;
        Ok(Recovery {
            acknowledged_ms: acknowledged.as_secs_f64() * 1000.0,
            ruled_ms: ruled.as_secs_f64() * 1000.0,
        })
    }
}

/// The product's wall clock is where it was put: otherwise a jump is none.
fn check_wall(system: &System, now: Timestamp, page: &Value) -> Result<()> {
    let Some(wall) = &system.wall else {
        return Ok(());
    };
    let at: Timestamp = page["current"]["at"].as_str().unwrap_or_default().parse()?;
    let expected = now + SignedDuration::from_secs(wall.offset_s);
    ensure!(
        at.duration_since(expected).abs() < WALL_TOLERANCE,
        "the product ruled at {at} by its own clock, which should be at {expected}"
    );
    Ok(())
}
