//! Calling a task off, wherever it is worked on.

use std::time::Duration;

use a2a_types as sdk;
use incident::ids::TaskId;
use incident::ports::{Cx, StoreError};

use crate::failure::Failure;

use super::ending::canceled;
use super::live::Core;
use super::record::{Record, State};
use super::tasks::Kept;

/// How long a cancellation waits for whoever works on the task to notice. Another replica notices
/// when it renews its lease.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// Calls a task off; the task as it is then. One that another replica works on may still be
/// WORKING; the replica knows, and gives it up when it renews its lease.
pub(super) async fn cancel(core: &Core, id: &TaskId) -> Result<Record, sdk::A2AError> {
    let cx = Cx::root(core.clock.clone(), CANCEL_WAIT, "");
    if let Some(mut view) = core.cancel(id) {
        let ended = cx.bound(view.wait_for(|view| view.done.is_some())).await;
        if ended.is_none() {
            return Err(Failure::Deadline.error("the agent has not stopped yet; ask again"));
        }
    }
    loop {
        let Kept {
            mut record,
            version,
        } = core.load(id).await?;
        match record.state {
            State::Canceled => return Ok(record),
            State::Completed | State::Rejected => {
                return Err(sdk::A2AError::task_not_cancelable(id.as_str()));
            }
            State::Working | State::InputRequired => {}
        }
        let now = core.clock.now();
        let elsewhere = core.tasks.is_held_elsewhere(&record, now);
        if elsewhere && record.cancel_asked {
            if cx
                .bound(core.clock.sleep(core.config.poll.0))
                .await
                .is_none()
            {
                return Ok(record);
            }
            continue;
        }
        if elsewhere {
            record.cancel_asked = true;
        } else {
            record.rest(&canceled(), now);
        }
        match core.tasks.save(&record, version).await {
            Ok(_) if elsewhere => {}
            Ok(_) => return Ok(record),
            Err(StoreError::Conflict { .. }) if !cx.remaining().is_zero() => {}
            Err(error) => return Err(Failure::Store.error(error.to_string())),
        }
    }
}
