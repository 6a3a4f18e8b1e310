"""Tests of the PostgreSQL engine and of the scratch servers, against real servers."""
