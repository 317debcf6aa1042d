"""What Sightline does, one file a verb."""
