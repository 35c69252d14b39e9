//! Renderers: one report, several forms.
//!
//! For: the same document on a terminal at 3 a.m., as Markdown in a pull request, as one page in a
//! browser and as JSON for programs. Everything is escaped for where it goes: control and
//! direction-changing characters, mark-up, links, mentions.
//!
//! Never: a sentence, number or judgement of their own; a script, a remote resource, a live mention.

mod aside;
mod escape;
#[cfg(test)]
mod hostile;
mod html;
mod hunks;
mod json;
mod markdown;
mod plot;
mod pull_request;
mod terminal;
#[cfg(test)]
mod tests;
mod view;
mod wrap;

pub use html::html;
pub use json::json;
pub use markdown::markdown;
pub use pull_request::{PullRequest, pull_request_body};
pub use terminal::{TerminalStyle, terminal};
