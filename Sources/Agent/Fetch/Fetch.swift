enum FetchPlaceholder {}
