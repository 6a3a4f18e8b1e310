"""Throwaway PostgreSQL servers in which untrusted dumps are restored."""
