"""Optimization: how gradients change the weights, and what is averaged or pulled on the way."""
