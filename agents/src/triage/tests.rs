//! Triage through its one door: requests in, replies and stored incidents out.

mod laws;
mod real;
mod scripts;
mod world;
