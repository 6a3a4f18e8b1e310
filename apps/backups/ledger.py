"""What a run lends to its adapters, and the ledger of what may be left behind in the world."""
