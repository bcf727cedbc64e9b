"""From wherever images lie to batches of uint8: sources, decoding, splits, augmentation, batches."""
