"""Throwaway PostgreSQL servers in which untrusted dumps are restored."""

from apps.backups.scratch.sweep import sweep

__all__ = ["sweep"]
