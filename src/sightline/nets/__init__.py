"""The shelf of trainable networks, one file an architecture."""
