"""Things remembered: a gallery of people that is encrypted, accounts for its use, and forgets for good."""
