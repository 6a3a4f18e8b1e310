"""Disasters of PostgreSQL databases."""
