//! Slack, in two ways: [`Bot`] over the Web API, [`Webhook`] over an incoming webhook. Both show the
//! same message.

mod api;
mod blocks;
mod bot;
mod examine;
mod gate;
mod layout;
#[cfg(test)]
mod tests;
mod text;
mod webhook;

pub use bot::Bot;
pub use examine::Finding;
pub use webhook::Webhook;

use std::sync::Arc;

use incident::ports::{Notifier, NotifyError};

use crate::config::Config;

/// The name of the channel in journals, whichever way it is reached.
const NAME: &str = "slack";

/// The channel of this configuration, if there is one.
pub fn open(config: &Config, http: reqwest::Client) -> Option<Arc<dyn Notifier>> {
    if config.is_bot() {
        return Some(Arc::new(Bot::new(config.clone(), http)));
    }
    config
        .is_on()
        .then(|| Arc::new(Webhook::new(config.clone(), http)) as Arc<dyn Notifier>)
}

/// It will not be taken, however often it is tried.
fn refused(why: &str) -> NotifyError {
    NotifyError::Refused {
        notifier: NAME.to_owned(),
        why: why.to_owned(),
    }
}

/// It may have been taken.
fn unreachable(why: &str) -> NotifyError {
    NotifyError::Unreachable {
        notifier: NAME.to_owned(),
        why: why.to_owned(),
    }
}

/// It was not taken; later it may be.
fn limited(retry_after_s: Option<u64>) -> NotifyError {
    NotifyError::Limited {
        notifier: NAME.to_owned(),
        retry_after_s,
    }
}

/// It was not sent.
fn away(why: &str) -> NotifyError {
    NotifyError::Away {
        notifier: NAME.to_owned(),
        why: why.to_owned(),
    }
}

/// How a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Before it was sent.
    NoConnection,
    /// It may have arrived.
    NoAnswer,
}

impl Loss {
    /// The error's own text is left out: it carries the address, and a webhook's is the secret.
    fn of(error: reqwest::Error) -> Self {
        let loss = if error.is_connect() {
            Self::NoConnection
        } else {
            Self::NoAnswer
        };
        tracing::debug!(error = %error.without_url(), "a call to Slack was lost");
        loss
    }
}

impl From<Loss> for NotifyError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::NoConnection => away("no connection"),
            Loss::NoAnswer => unreachable("no answer"),
        }
    }
}
