"""The shelf of data-set formats, one file each."""
