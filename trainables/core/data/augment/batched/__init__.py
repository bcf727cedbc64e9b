"""Augmentation of whole batches on their device: the policies of albumentations as tensor operations."""
