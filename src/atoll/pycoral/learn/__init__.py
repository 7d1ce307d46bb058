"""Training the last layer on the host."""
