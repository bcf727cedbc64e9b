"""Serving of a registered model: from images to class probabilities or masks."""
