"""Metrics as pure numpy functions, meters over them, and their intervals."""
