"""The shelf of torch-free learners, one file each."""
