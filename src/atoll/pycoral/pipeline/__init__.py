"""Running a segmented model over several Edge TPUs."""
