enum SliceStoragePlaceholder {}
