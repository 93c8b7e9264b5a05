//! Method names of every revision, compared once.

/// Requests and notifications by name; `Other` for what is only relayed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    Initialize,
    Discover,
    Ping,
    ToolsList,
    ToolsCall,
    ResourcesList,
    ResourcesTemplatesList,
    ResourcesRead,
    ResourcesSubscribe,
    ResourcesUnsubscribe,
    PromptsList,
    PromptsGet,
    Complete,
    SetLevel,
    SubscriptionsListen,
    TasksGet,
    TasksResult,
    TasksUpdate,
    TasksCancel,
    TasksList,
    SamplingCreateMessage,
    ElicitationCreate,
    RootsList,
    // Notifications.
    Initialized,
    Cancelled,
    Progress,
    LogMessage,
    ToolsListChanged,
    PromptsListChanged,
    ResourcesListChanged,
    ResourcesUpdated,
    RootsListChanged,
    ElicitationComplete,
    TasksStatus,
    SubscriptionsAcknowledged,
    Other(&'a str),
}

impl<'a> Method<'a> {
    pub fn parse(name: &'a str) -> Self {
        Self::known(name).unwrap_or(Self::Other(name))
    }

    /// `None`: `Other`.
    pub fn known(name: &str) -> Option<Method<'static>> {
        Some(match name {
            "initialize" => Method::Initialize,
            "server/discover" => Method::Discover,
            "ping" => Method::Ping,
            "tools/list" => Method::ToolsList,
            "tools/call" => Method::ToolsCall,
            "resources/list" => Method::ResourcesList,
            "resources/templates/list" => Method::ResourcesTemplatesList,
            "resources/read" => Method::ResourcesRead,
            "resources/subscribe" => Method::ResourcesSubscribe,
            "resources/unsubscribe" => Method::ResourcesUnsubscribe,
            "prompts/list" => Method::PromptsList,
            "prompts/get" => Method::PromptsGet,
            "completion/complete" => Method::Complete,
            "logging/setLevel" => Method::SetLevel,
            "subscriptions/listen" => Method::SubscriptionsListen,
            "tasks/get" => Method::TasksGet,
            "tasks/result" => Method::TasksResult,
            "tasks/update" => Method::TasksUpdate,
            "tasks/cancel" => Method::TasksCancel,
            "tasks/list" => Method::TasksList,
            "sampling/createMessage" => Method::SamplingCreateMessage,
            "elicitation/create" => Method::ElicitationCreate,
            "roots/list" => Method::RootsList,
            "notifications/initialized" => Method::Initialized,
            "notifications/cancelled" => Method::Cancelled,
            "notifications/progress" => Method::Progress,
            "notifications/message" => Method::LogMessage,
            "notifications/tools/list_changed" => Method::ToolsListChanged,
            "notifications/prompts/list_changed" => Method::PromptsListChanged,
            "notifications/resources/list_changed" => Method::ResourcesListChanged,
            "notifications/resources/updated" => Method::ResourcesUpdated,
            "notifications/roots/list_changed" => Method::RootsListChanged,
            "notifications/elicitation/complete" => Method::ElicitationComplete,
            "notifications/tasks/status" => Method::TasksStatus,
            "notifications/subscriptions/acknowledged" => Method::SubscriptionsAcknowledged,
            _ => return None,
        })
    }

    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Initialize => "initialize",
            Self::Discover => "server/discover",
            Self::Ping => "ping",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::ResourcesList => "resources/list",
            Self::ResourcesTemplatesList => "resources/templates/list",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::ResourcesUnsubscribe => "resources/unsubscribe",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
            Self::Complete => "completion/complete",
            Self::SetLevel => "logging/setLevel",
            Self::SubscriptionsListen => "subscriptions/listen",
            Self::TasksGet => "tasks/get",
            Self::TasksResult => "tasks/result",
            Self::TasksUpdate => "tasks/update",
            Self::TasksCancel => "tasks/cancel",
            Self::TasksList => "tasks/list",
            Self::SamplingCreateMessage => "sampling/createMessage",
            Self::ElicitationCreate => "elicitation/create",
            Self::RootsList => "roots/list",
            Self::Initialized => "notifications/initialized",
            Self::Cancelled => "notifications/cancelled",
            Self::Progress => "notifications/progress",
            Self::LogMessage => "notifications/message",
            Self::ToolsListChanged => "notifications/tools/list_changed",
            Self::PromptsListChanged => "notifications/prompts/list_changed",
            Self::ResourcesListChanged => "notifications/resources/list_changed",
            Self::ResourcesUpdated => "notifications/resources/updated",
            Self::RootsListChanged => "notifications/roots/list_changed",
            Self::ElicitationComplete => "notifications/elicitation/complete",
            Self::TasksStatus => "notifications/tasks/status",
            Self::SubscriptionsAcknowledged => "notifications/subscriptions/acknowledged",
            Self::Other(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        for name in ["initialize", "server/discover", "tools/call", "notifications/cancelled", "notifications/tasks/status", "x/own", ""] {
            assert_eq!(Method::parse(name).as_str(), name);
        }
        assert_eq!(Method::parse("tools/call"), Method::ToolsCall);
        assert_eq!(Method::parse("Tools/Call"), Method::Other("Tools/Call"));
    }
}
