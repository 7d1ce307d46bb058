"""Real Edge TPUs, by the vendor's runtime library."""
