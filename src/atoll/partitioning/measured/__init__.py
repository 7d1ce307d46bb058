"""The best cuts as measured."""
