//! Every weight of diagnosis, in one table.
//!
//! A candidate's score is its prior plus the weights of its reasons, in natural-log odds against
//! "something nobody looked at", which stands at [`OUTSIDE`]. Confidence is the share of a candidate
//! among all of them: `exp(score) / sum of exp(score)`. So two equally good candidates halve each
//! other's confidence, and a lone bad candidate loses to the outside.
//!
//! The weights are judgement, not fitted to a data set. `+2` reads as "seven times as likely",
//! `-5` as "as good as impossible".

/// Prior of one commit: most commits break nothing.
pub(super) const CHANGE: f64 = -3.5;
/// Prior of a load surge.
pub(super) const LOAD: f64 = -1.5;
/// Prior of a resource running full by itself.
pub(super) const SATURATION: f64 = -1.5;
/// Prior of a cause that was not looked at; the yardstick.
pub(super) const OUTSIDE: f64 = 0.0;

// Time, for commits.
/// Landed within the deployment delay before the onset.
pub(super) const TIME_CLOSE: f64 = 2.0;
/// Where the weight of time decays to, halving the distance every `delay_halving`.
pub(super) const TIME_FAR: f64 = -1.0;
/// Landed within the tolerance after the onset: the order cannot be told.
pub(super) const TIME_SAME: f64 = 0.5;
/// Landed after the onset.
pub(super) const TIME_AFTER: f64 = -6.0;
/// Share of the time weight that is left when no metric shows the onset.
pub(super) const TIME_UNMEASURED: f64 = 0.5;

// Place: what a commit can reach against what the incident is about.
/// Reaches the subject by the configured paths.
pub(super) const PLACE_SERVICE: f64 = 1.5;
/// A path or the repository carries the subject's name.
pub(super) const PLACE_PATH: f64 = 1.0;
/// Reaches other services only.
pub(super) const PLACE_ELSEWHERE: f64 = -1.5;

// Words: what a commit edits against what moved.
/// The most that shared words can weigh.
pub(super) const WORDS_MAX: f64 = 2.0;
/// The rarity of shared words at which 63 % of that is reached.
pub(super) const WORDS_SCALE: f64 = 4.0;
/// Commits without the word that are imagined beside those of the window, so that a lone commit has
/// rare words too.
pub(super) const WORDS_BACKGROUND: f64 = 5.0;
/// How far long commits are discounted, from 0 (not) to 1 (in proportion).
pub(super) const WORDS_LENGTH: f64 = 0.3;
/// Shares no word.
pub(super) const WORDS_NONE: f64 = -0.7;

// Mechanism: what kind of edit it is against the role of what moved.
/// A limit, time-out, delay or the like was moved in the direction that does this.
pub(super) const KNOB_FITS: f64 = 1.8;
/// A switch was flipped.
pub(super) const SWITCH: f64 = 0.8;
/// Code was removed and nothing put in its place.
pub(super) const REMOVAL: f64 = 0.5;
/// The alert or the metrics speak of what was removed.
pub(super) const REMOVAL_NAMED: f64 = 0.8;
/// A setting got another value.
pub(super) const SETTING: f64 = 0.5;
/// A dependency or image moved to another version.
pub(super) const VERSION: f64 = 0.4;
/// Limits were moved, but only in the direction that relieves.
pub(super) const KNOB_RELIEVES: f64 = -0.7;
/// Nothing in it can run.
pub(super) const INERT: f64 = -5.0;
/// Taken back before the onset.
pub(super) const UNDONE: f64 = -4.0;
/// A merge whose files other commits of the window touch: it only carries them.
pub(super) const MERGE: f64 = -1.5;

// Contrast.
/// A metric shows that the edited value is the one that runs.
pub(super) const RUNS: f64 = 1.5;
/// Metrics were looked at and none of them moved.
pub(super) const NOTHING_MOVED: f64 = -2.0;
/// Traffic surged first and the commit moves no limit.
pub(super) const SURGE_EXPLAINS: f64 = -1.0;

// Load.
/// The most a surge can weigh; reached when traffic is [`SURGE_FULL`] times as high.
pub(super) const SURGE: f64 = 2.5;
/// The factor of traffic at which a surge weighs in full.
pub(super) const SURGE_FULL: f64 = 3.0;
/// Errors, latency or saturation followed the surge.
pub(super) const SURGE_FOLLOWED: f64 = 1.0;
/// Saturation grew by about the factor of traffic.
pub(super) const SURGE_PROPORTIONAL: f64 = 0.7;

// Saturation by itself.
/// It moved before everything else.
pub(super) const SATURATED_FIRST: f64 = 1.5;
/// It moved together with the rest.
pub(super) const SATURATED: f64 = 0.4;
/// Neither a commit nor a surge can explain it.
pub(super) const SATURATED_ALONE: f64 = 1.8;

// Outside.
/// No commit of any repository lies before the onset.
pub(super) const NO_COMMIT: f64 = 0.5;

/// A candidate below this score is set aside rather than listed.
pub(super) const RULED_OUT: f64 = -2.5;
/// A single reason at or below this weight sets a candidate aside whatever else speaks for it.
pub(super) const DECISIVE: f64 = -3.9;
