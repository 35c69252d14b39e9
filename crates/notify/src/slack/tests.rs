//! What is shown, as snapshots; and the webhook against a server in Slack's place. The bot is tested
//! with the other whole-system tests, against a Web API that keeps messages.

mod gate;
mod shown;
mod webhook;
