"""Registered models, from encoded images to probabilities or masks."""
