"""Interpreters on Edge TPUs, and label files."""
