"""Learning by gradients: loop, loader, augmentation, optimisers, checkpoints."""
