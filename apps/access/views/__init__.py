"""The pages of access: who reaches what, one's own keys, drift, and leaving."""
