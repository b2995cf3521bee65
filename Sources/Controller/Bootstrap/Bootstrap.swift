enum BootstrapPlaceholder {}
