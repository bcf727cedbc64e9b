"""Decoding, from bytes to uint8 arrays."""
