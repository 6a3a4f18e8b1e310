"""How each kind of source is dumped, restored and compared."""
