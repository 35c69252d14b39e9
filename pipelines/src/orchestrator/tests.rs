//! The orchestrator as a whole, on a paused clock, against fakes that record and inject faults.

mod close;
mod crash;
mod deadline;
mod decide;
mod fakes;
mod normal;
mod rivals;
mod world;

/// Runs the whole of `future` on a paused clock.
macro_rules! paused {
    ($future:expr) => {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a current-thread runtime starts")
            .block_on($future)
    };
}
use paused;
