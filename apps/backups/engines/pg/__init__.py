"""The parts of the PostgreSQL engine: connections, clients, relay, dump, manifest, catalogue, restore, comparison."""
