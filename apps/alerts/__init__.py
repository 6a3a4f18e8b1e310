"""Trouble, incidents, and telling people about them."""
