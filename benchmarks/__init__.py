"""Measurements of speed, memory and search quality. Each program describes its measurement in its docstring."""
