enum AgentServicePlaceholder {}
