"""Commands of the overview room."""
