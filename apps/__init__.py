"""The rooms of Mainstay, one Django app each; docs/architecture.md is the map."""
