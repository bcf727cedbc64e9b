"""Backbones as lists of stages, the heads on top of them, and what a registered model runs."""
