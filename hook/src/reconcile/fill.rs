//! What is missing becomes events, in the same shape and within the same limits as if they had been
//! posted, and is stored.

use incident::ports::{Appended, Entry, Stream, StreamError};
use incident::{Fingerprint, Untrusted};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::batch;
use crate::config::Config;

/// Front of the group key of every event that reconciliation made.
const GROUP: &str = "nightshift/reconciliation";

/// The labels, annotations and page of an alert, as they stand in a body.
pub(super) struct Told<'a> {
    pub(super) labels: &'a std::collections::BTreeMap<String, Untrusted>,
    pub(super) annotations: &'a std::collections::BTreeMap<String, Untrusted>,
    pub(super) generator_url: &'a Untrusted,
}

/// One missing event.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) kind: &'static str,
    pub(super) fingerprint: Fingerprint,
    entry: Entry,
}

/// The event that says what `told` is about. Its group is one of its own for each alert: which
/// group Alertmanager would have sent it in is not known, and two alerts must not look as if they
/// had come together. The key follows from the content, so two processes that find the same gap
/// store one event.
pub(super) fn event(
    kind: &'static str,
    fingerprint: &Fingerprint,
    told: &Told<'_>,
    (starts_at, ends_at): (Timestamp, Option<Timestamp>),
    (receiver, peer): (&str, &str),
    (config, now): (&Config, Timestamp),
) -> Option<Filling> {
    let status = if ends_at.is_some() {
        "resolved"
    } else {
        "firing"
    };
    let mut alert = json!({
        "status": status,
        "labels": told.labels,
        "annotations": told.annotations,
        "startsAt": starts_at.to_string(),
        "generatorURL": told.generator_url,
        "fingerprint": fingerprint,
    });
    if let (Some(ends_at), Value::Object(fields)) = (ends_at, &mut alert) {
        fields.insert(String::from("endsAt"), json!(ends_at.to_string()));
    }
    let body = json!({
        "version": "4",
        "groupKey": format!("{GROUP}:{fingerprint}"),
        "receiver": receiver,
        "externalURL": peer,
        "truncatedAlerts": 0,
        "alerts": [alert],
    });
    let read = batch::read(body.to_string().as_bytes(), config, now);
    match read {
        Ok(mut batch) => batch.entries.pop().map(|entry| Filling {
            kind,
            fingerprint: fingerprint.clone(),
            entry,
        }),
        Err(error) => {
            tracing::warn!(%fingerprint, %error, "an alert of Alertmanager cannot be taken");
            None
        }
    }
}

/// Stores them; those that were not there before.
pub(super) async fn store(
    events: &dyn Stream,
    mut fillings: Vec<Filling>,
) -> Result<Vec<(&'static str, Fingerprint)>, StreamError> {
    let mut fresh = Vec::new();
    while !fillings.is_empty() {
        let rest = fillings.split_off(fillings.len().min(Entry::BATCH_MAX));
        let (names, entries): (Vec<_>, Vec<Entry>) = fillings
            .into_iter()
            .map(|filling| ((filling.kind, filling.fingerprint), filling.entry))
            .unzip();
        let appended = events.append(entries).await?;
        let stored = names.into_iter().zip(appended);
        fresh.extend(
            stored
                .filter(|(_, became)| *became == Appended::Stored)
                .map(|(name, _)| name),
        );
        fillings = rest;
    }
    Ok(fresh)
}
