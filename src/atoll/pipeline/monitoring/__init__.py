"""What each device of a pipeline does: statistics, metrics, traces, and what limits it."""
