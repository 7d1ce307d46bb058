"""Which process may use which Edge TPU, and until when."""
