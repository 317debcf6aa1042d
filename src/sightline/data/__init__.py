"""Pictures, samples and splits: from files to arrays."""
