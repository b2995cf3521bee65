enum HostSetupPlaceholder {}
