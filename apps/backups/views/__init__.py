"""The pages of the backups room: guard, form, service, redirect."""
