"""Real servers for the tests, one file each."""
