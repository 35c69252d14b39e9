//! The arithmetic of the Horizontal Pod Autoscaler for one external metric with an average target,
//! as the controller computes it at every sync.

use serde_json::Value;

use super::files::{list, word};
use super::keda::scaled_object;

/// A change that a policy allows within a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Pods(f64),
    Percent(f64),
}

/// A policy: a step and its period in seconds.
pub(super) type Policy = (Step, u64);

/// What stands in the manifest, or the defaults of the controller.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    pub(super) target: f64,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) tolerance: f64,
    pub(super) up: Vec<Policy>,
    pub(super) down: Vec<Policy>,
    /// Seconds for which the highest recommendation counts before anything is taken away.
    pub(super) down_window: u64,
}

impl Rules {
    /// Up by 100 % or 4 pods in 15 s, down by anything in 15 s after 300 s.
    pub(super) fn default_for(target: f64, min: u32, max: u32) -> Self {
        Self {
            target,
            min,
            max,
            tolerance: 0.1,
            up: vec![(Step::Pods(4.0), 15), (Step::Percent(100.0), 15)],
            down: vec![(Step::Percent(100.0), 15)],
            down_window: 300,
        }
    }

    /// Those of `deploy/keda`.
    pub(super) fn of_the_manifest() -> Self {
        let spec = &scaled_object()["spec"];
        let number =
            |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("small");
        let target = word(&spec["advanced"]["scalingModifiers"]["target"]);
        let mut rules = Self::default_for(
            target.parse().expect("a number"),
            number(&spec["minReplicaCount"]),
            number(&spec["maxReplicaCount"]),
        );
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert!(behavior["scaleUp"].get("policies").is_none());
        let down = &behavior["scaleDown"];
        rules.down_window = number(&down["stabilizationWindowSeconds"]).into();
        rules.down = list(&down["policies"])
            .iter()
            .map(|policy| {
                let value = number(&policy["value"]).into();
                let step = match policy["type"].as_str() {
                    Some("Pods") => Step::Pods(value),
                    Some("Percent") => Step::Percent(value),
                    other => panic!("{other:?} is no type of policy"),
                };
                (step, number(&policy["periodSeconds"]).into())
            })
            .collect();
        rules
    }

    /// Replicas for a metric: enough for the target, unchanged within the tolerance. Unbounded.
    pub(super) fn desired(&self, current: u32, metric: f64) -> u32 {
        let ratio = metric / (self.target * f64::from(current));
        if (ratio - 1.0).abs() <= self.tolerance {
            return current;
        }
        whole((metric / self.target).ceil())
    }
}

/// The controller's memory of one autoscaler. Times are seconds.
#[derive(Debug, Clone)]
pub(super) struct Hpa {
    rules: Rules,
    pub(super) replicas: u32,
    recommended: Vec<(u64, u32)>,
    changed: Vec<(u64, f64)>,
}

impl Hpa {
    pub(super) fn new(rules: Rules, replicas: u32) -> Self {
        Self {
            rules,
            replicas,
            recommended: vec![(0, replicas)],
            changed: Vec::new(),
        }
    }

    /// One sync: stabilise, then limit the rate, then the bounds.
    pub(super) fn sync(&mut self, at: u64, metric: f64) -> u32 {
        let current = self.replicas;
        let desired = self.rules.desired(current, metric);
        self.recommended.push((at, desired));
        let window = self.rules.down_window;
        let highest = self
            .recommended
            .iter()
            .filter(|(then, _)| then + window > at);
        let highest = highest.map(|(_, n)| *n).max().unwrap_or(desired);
        // No stabilisation upwards: the newest recommendation. Downwards: the highest of the window.
        let stable = current.max(desired).min(highest);
        let next = if stable > current {
            stable.min(self.limit_up(at)).max(current)
        } else {
            stable.max(self.limit_down(at)).min(current)
        };
        let next = next.clamp(self.rules.min, self.rules.max);
        if next != current {
            self.changed
                .push((at, f64::from(next) - f64::from(current)));
        }
        self.replicas = next;
        next
    }

    /// Replicas at the beginning of the period that ends now.
    fn before(&self, at: u64, period: u64) -> f64 {
        let within = self.changed.iter().filter(|(then, _)| then + period > at);
        f64::from(self.replicas) - within.map(|(_, change)| change).sum::<f64>()
    }

    fn limit_up(&self, at: u64) -> u32 {
        let limits = self.rules.up.iter().map(|(step, period)| {
            let before = self.before(at, *period);
            whole(match step {
                Step::Pods(pods) => before + pods,
                Step::Percent(percent) => (before * (1.0 + percent / 100.0)).ceil(),
            })
        });
        limits.max().unwrap_or(self.replicas)
    }

    fn limit_down(&self, at: u64) -> u32 {
        let limits = self.rules.down.iter().map(|(step, period)| {
            let before = self.before(at, *period);
            whole(match step {
                Step::Pods(pods) => before - pods,
                Step::Percent(percent) => before * (1.0 - percent / 100.0),
            })
        });
        limits.min().unwrap_or(self.replicas)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits; a fraction is cut as the controller cuts it"
)]
fn whole(number: f64) -> u32 {
    number.clamp(0.0, 1e6) as u32
}
