"""The command ./mainstay: sets up, starts, checks, tests and measures Mainstay."""
