"""Segments in worker processes, joined by rings of shared memory."""
