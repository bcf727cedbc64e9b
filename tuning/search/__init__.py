"""One search, from options to an exit code."""
