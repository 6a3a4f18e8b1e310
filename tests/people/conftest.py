"""Fixtures of the people room: the root conftest brings those of every room."""
