"""Backpropagation on the last layer."""
