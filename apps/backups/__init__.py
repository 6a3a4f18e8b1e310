"""Plans, backups, restore tests and restores."""
