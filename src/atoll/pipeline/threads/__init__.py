"""Segments in threads of this process."""
