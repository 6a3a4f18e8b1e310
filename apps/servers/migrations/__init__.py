"""Migrations of the servers room."""
