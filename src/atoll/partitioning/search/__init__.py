"""The best cuts under a cost function."""
