"""Backbones as lists of stages, and where their weights come from."""
