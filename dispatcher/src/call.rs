//! One task at one agent: deadline, patience with an agent that is away, leaving.

use std::sync::Arc;
use std::time::Duration;

use incident::digest::Digest;
use incident::ports::{Agent, AgentError, AgentTask, Cx, Outcome};
use runtime::CancelToken;

use crate::breaker::Pass;
use crate::config::Retry;
use crate::service::Inner;

/// An agent answers within this time after its context ended; then it is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How a call ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With an outcome.
    Task(Result<Outcome, AgentError>),
    /// The process leaves and the work was called off.
    Leaving,
}

/// Calls the work off when the caller goes away, whichever way it goes.
struct CallOff(CancelToken);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Inner {
    /// Does one task. An agent that cannot be reached is asked again for a while: the entry stays
    /// where it is and none of its attempts is used up.
    pub(crate) async fn call(
        &self,
        agent: &dyn Agent,
        task: AgentTask,
        within: Duration,
        pass: &mut Pass,
    ) -> End {
        let retry = &self.config.retry;
        let since = self.clock.elapsed();
        let mut waits = Retry::UNREACHABLE.waits(self.entropy.as_ref());
        loop {
            let waited = self.clock.elapsed().saturating_sub(since);
            tokio::select! {
                biased;
                () = self.left() => return End::Leaving,
                () = pass.enter() => {}
                () = self.clock.sleep(retry.unreachable_max.0.saturating_sub(waited)) => {
                    return End::Task(Err(left_alone(agent)));
                }
            }
            let end = self.call_once(agent, task.clone(), within).await;
            let stays = pass.report(&end, task.message_id.as_str());
            if !stays {
                return end;
            }
            let wait = waits.next().unwrap_or(Retry::UNREACHABLE.wait_max);
            let waited = self.clock.elapsed().saturating_sub(since);
            if waited.saturating_add(wait) > retry.unreachable_max.0 {
                return end;
            }
            tracing::warn!(
                agent = agent.card().name,
                "an agent cannot be reached or keeps failing; asking again"
            );
            tokio::select! {
                biased;
                () = self.left() => return End::Leaving,
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    async fn call_once(&self, agent: &dyn Agent, task: AgentTask, within: Duration) -> End {
        let off = CallOff(CancelToken::new());
        let trace = trace(task.context.as_deref().unwrap_or(task.message_id.as_str()));
        let cx = Cx::root(Arc::clone(&self.clock), within, trace)
            .with_cancel(Arc::new(off.0.clone()))
            .with_progress(Arc::clone(&self.progress));
        let mut run = agent.run(task, &cx);
        let end = tokio::select! {
            biased;
            result = &mut run => return End::Task(result),
            () = self.left() => End::Leaving,
            () = self.clock.sleep(within.saturating_add(ANSWER_WITHIN)) => {
                let agent = agent.card().name.clone();
                End::Task(Err(AgentError::Deadline { agent }))
            }
        };
        off.0.cancel();
        // It may have been about to finish; what is done need not be done again.
        tokio::select! {
            biased;
            result = &mut run => if result.is_ok() { End::Task(result) } else { end },
            () = self.clock.sleep(ANSWER_WITHIN) => end,
        }
    }
}

/// The agent did not work again for as long as an entry waits for it.
fn left_alone(agent: &dyn Agent) -> AgentError {
    AgentError::Unreachable {
        agent: agent.card().name.clone(),
        why: String::from("it kept failing and is left alone"),
    }
}

/// One trace id for everything about an incident.
fn trace(of: &str) -> String {
    Digest::of_fields("trace/1", [of]).short(32).to_owned()
}
