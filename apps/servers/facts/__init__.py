"""What a server says of itself, taken apart strictly: facts each hour, samples each minute; wrong types are unknown."""
