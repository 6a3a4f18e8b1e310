"""Shared by every room and knowing none: the work row, encryption, page guard, design system."""
