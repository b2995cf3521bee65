enum AgentLinkPlaceholder {}
