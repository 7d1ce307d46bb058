"""Files on disk: bytes to the model in memory and back, without any policy."""
