"""The shelf of instruments held against a model."""
