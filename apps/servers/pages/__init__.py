"""The arithmetic of the pages of servers; writes nothing."""
