"""The pages of servers: the list and one server, and how one is connected."""
