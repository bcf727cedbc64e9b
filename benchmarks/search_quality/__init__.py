"""Search methods on synthetic curves, in virtual time."""
