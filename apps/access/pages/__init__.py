"""The arithmetic of the pages of access; writes nothing."""
