"""A model and its partition → files for Edge TPUs."""
