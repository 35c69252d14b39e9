//! The dispatcher through its one door: entries on streams in, calls of agents and settled entries
//! out. Time is paused, so hours pass at once and each run is the same.

mod breaker;
mod crash;
mod hops;
mod order;
mod pace;
mod slots;
mod world;
