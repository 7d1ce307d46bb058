"""The vendor's commands, under their names and flags."""
