enum DisksPlaceholder {}
