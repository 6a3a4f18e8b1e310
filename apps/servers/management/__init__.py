"""Commands of the servers room."""
