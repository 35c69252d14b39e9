//! Channels that people read.
//!
//! For: telling on call that it started, what is known, and that it is over. Slack's incoming webhook
//! is the first channel.
//!
//! Never: a decision, an approval (the message says how to give one), a mention or link made from
//! somebody else's text, the webhook's address in a log or an error.
#![forbid(unsafe_code)]

mod config;
mod slack;

pub use config::Config;
pub use slack::Slack;
