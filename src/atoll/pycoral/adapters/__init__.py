"""Inputs and results of common kinds of models."""
