"""The vendor's compiler, where it is installed: models in files → files for real Edge TPUs."""
