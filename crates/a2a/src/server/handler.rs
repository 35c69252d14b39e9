//! The operations of A2A 1.0 on durable tasks. Stands in for the official default handler.

use std::sync::Arc;

use a2a_server::{RequestHandler, ServiceParams};
use a2a_types as sdk;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use incident::ports::Cx;
use tokio::sync::watch;

use crate::failure::Failure;

use super::feed::{Feed, Want};
use super::live::{Core, View};
use super::lookup::task_id;
use super::record::Record;
use super::request::{self, Asked, FollowUp, Refusal, history_length, no_tenant};
use super::{cancel, listing};

/// The operations on one agent.
#[derive(Debug)]
pub(super) struct Handler {
    core: Arc<Core>,
}

type Events = BoxStream<'static, Result<sdk::StreamResponse, sdk::A2AError>>;

impl Handler {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn read(
        &self,
        params: &ServiceParams,
        request: sdk::SendMessageRequest,
    ) -> Result<Asked, sdk::A2AError> {
        match request::read(self.core.agent.card(), params, request) {
            Ok(asked) => Ok(asked),
            Err(Refusal::Bad(error)) => Err(error),
            Err(Refusal::FollowUp(FollowUp(named))) => {
                let record = self.core.load(&task_id(named)?).await?.record;
                Err(sdk::A2AError::unsupported_operation(format!(
                    "message.taskId: {} takes no further messages; leave it out to start a new task",
                    record.task
                )))
            }
        }
    }
}

/// Waits until the execution has a record (`at_once`) or has ended; the record, or why there is
/// no result.
async fn meet(
    view: &mut watch::Receiver<View>,
    at_once: bool,
    cx: &Cx,
) -> Result<Record, sdk::A2AError> {
    let ready = |view: &View| view.done.is_some() || (at_once && view.record.is_some());
    let Some(found) = cx.bound(view.wait_for(ready)).await else {
        let why = "the caller's deadline passed; the task goes on";
        return Err(Failure::Deadline.error(why));
    };
    let view = match found {
        Ok(view) => view.clone(),
        Err(_) => View::default(),
    };
    match (view.record, view.done) {
        (_, Some(Err(error))) => Err(error),
        (Some(record), _) => Ok(record),
        (None, _) => Err(Failure::Interrupted.error("the execution was interrupted")),
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn send_message(
        &self,
        params: &ServiceParams,
        request: sdk::SendMessageRequest,
    ) -> Result<sdk::SendMessageResponse, sdk::A2AError> {
        let _permit = self.core.admit()?;
        let asked = self.read(params, request).await?;
        let mut view = self.core.join(&asked)?;
        let record = meet(&mut view, asked.at_once, &self.core.cx(asked.deadline)).await?;
        let task = self.core.task(&record, asked.history).await?;
        Ok(sdk::SendMessageResponse::Task(task))
    }

    async fn send_streaming_message(
        &self,
        params: &ServiceParams,
        request: sdk::SendMessageRequest,
    ) -> Result<Events, sdk::A2AError> {
        let permit = self.core.admit()?;
        let asked = self.read(params, request).await?;
        let mut view = self.core.join(&asked)?;
        let cx = self.core.cx(asked.deadline);
        meet(&mut view, true, &cx).await?;
        let input = (asked.history != Some(0)).then_some(asked.task.input);
        let feed = Feed::new(self.core.clone(), asked.id, Want::Execution, cx, permit);
        Ok(feed
            .of(view)
            .with_history(input, asked.history)
            .into_stream())
    }

    async fn get_task(
        &self,
        _params: &ServiceParams,
        request: sdk::GetTaskRequest,
    ) -> Result<sdk::Task, sdk::A2AError> {
        let _permit = self.core.admit()?;
        no_tenant(request.tenant.as_deref())?;
        let history = history_length("historyLength", request.history_length)?;
        let record = self.core.newest(&task_id(request.id)?).await?;
        self.core.task(&record, history).await
    }

    async fn list_tasks(
        &self,
        _params: &ServiceParams,
        request: sdk::ListTasksRequest,
    ) -> Result<sdk::ListTasksResponse, sdk::A2AError> {
        let _permit = self.core.admit()?;
        no_tenant(request.tenant.as_deref())?;
        listing::list(&self.core, &request).await
    }

    async fn cancel_task(
        &self,
        _params: &ServiceParams,
        request: sdk::CancelTaskRequest,
    ) -> Result<sdk::Task, sdk::A2AError> {
        let _permit = self.core.admit()?;
        no_tenant(request.tenant.as_deref())?;
        let id = task_id(request.id)?;
        let record = cancel::cancel(&self.core, &id).await?;
        self.core.task(&record, Some(0)).await
    }

    async fn subscribe_to_task(
        &self,
        _params: &ServiceParams,
        request: sdk::SubscribeToTaskRequest,
    ) -> Result<Events, sdk::A2AError> {
        let permit = self.core.admit()?;
        no_tenant(request.tenant.as_deref())?;
        let id = task_id(request.id)?;
        let record = self.core.newest(&id).await?;
        if record.state.is_terminal() {
            return Err(sdk::A2AError::unsupported_operation(format!(
                "{id} has ended, nothing more will happen to it; use GetTask"
            )));
        }
        // Nobody waits for the result of this stream, so it does not hold up a process that leaves.
        let cx = self
            .core
            .cx(None)
            .with_cancel(Arc::new(self.core.leaving()));
        let feed = Feed::new(self.core.clone(), id, Want::Task, cx, permit);
        Ok(feed.into_stream())
    }

    async fn create_push_config(
        &self,
        _params: &ServiceParams,
        _request: sdk::TaskPushNotificationConfig,
    ) -> Result<sdk::TaskPushNotificationConfig, sdk::A2AError> {
        Err(sdk::A2AError::push_notification_not_supported())
    }

    async fn get_push_config(
        &self,
        _params: &ServiceParams,
        _request: sdk::GetTaskPushNotificationConfigRequest,
    ) -> Result<sdk::TaskPushNotificationConfig, sdk::A2AError> {
        Err(sdk::A2AError::push_notification_not_supported())
    }

    async fn list_push_configs(
        &self,
        _params: &ServiceParams,
        _request: sdk::ListTaskPushNotificationConfigsRequest,
    ) -> Result<sdk::ListTaskPushNotificationConfigsResponse, sdk::A2AError> {
        Err(sdk::A2AError::push_notification_not_supported())
    }

    async fn delete_push_config(
        &self,
        _params: &ServiceParams,
        _request: sdk::DeleteTaskPushNotificationConfigRequest,
    ) -> Result<(), sdk::A2AError> {
        Err(sdk::A2AError::push_notification_not_supported())
    }

    async fn get_extended_agent_card(
        &self,
        _params: &ServiceParams,
        _request: sdk::GetExtendedAgentCardRequest,
    ) -> Result<sdk::AgentCard, sdk::A2AError> {
        let why = "this agent has no extended card; its public card says everything";
        Err(sdk::A2AError::unsupported_operation(why))
    }
}
