"""Disasters of the client programs."""
