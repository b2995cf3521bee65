enum HostCommandPlaceholder {}
