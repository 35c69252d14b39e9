//! Channels that people read.
//!
//! For: telling on call that it started, what is known, and that it is over. Slack is the channel: as
//! a bot that edits its one message and can look for it, or through an incoming webhook that can only
//! post.
//!
//! Never: a decision, an approval (the message says how to give one), a mention or link made from
//! somebody else's text, a token or the webhook's address in a log or an error.
#![forbid(unsafe_code)]

mod config;
mod slack;

pub use config::Config;
pub use slack::{Bot, Finding, Webhook, open};
