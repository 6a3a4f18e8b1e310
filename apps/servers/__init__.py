"""Servers: what we look after, and the only way in: the gate, over SSH with pinned host keys."""
