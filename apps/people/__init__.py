"""Who there is, what they may do, and what they did (the audit log)."""
