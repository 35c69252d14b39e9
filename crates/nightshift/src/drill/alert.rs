//! The webhook body of the drill, as an Alertmanager 0.33 would send it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::world::{FIRED_AGO, SERVICE};

/// The alert's expression: its left side is what the report plots.
pub(super) const EXPRESSION: &str = "sum(rate(checkout_requests_total{code=~\"5..\"}[1m])) / sum(rate(checkout_requests_total[1m])) > 0.05";

/// The alert's name.
pub(super) const NAME: &str = "CheckoutErrorsHigh";

/// One firing critical alert.
pub(super) fn body(now: Timestamp, prometheus: &str) -> Value {
    let starts_at = now.checked_sub(FIRED_AGO).unwrap_or(now);
    let labels = json!({
        "alertname": NAME,
        "service": SERVICE,
        "job": SERVICE,
        "namespace": "shop",
        "severity": "critical",
    });
    let annotations = json!({
        "summary": "More than 5 % of checkout requests fail",
        "description": "Customers cannot pay.",
    });
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"CheckoutErrorsHigh\", namespace=\"shop\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "nightshift",
        "groupLabels": { "alertname": "CheckoutErrorsHigh", "namespace": "shop" },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": format!("{starts_at:.3}"),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": format!("{prometheus}/graph?g0.expr={}&g0.tab=1", percent_encode(EXPRESSION)),
            "fingerprint": "5f1d3c9a77e2b04c",
        }],
    })
}

fn percent_encode(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes()
        .map(|b| {
            if plain(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
