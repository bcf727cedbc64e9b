"""Splits, folds and groups of images, and the audit that checks them."""
