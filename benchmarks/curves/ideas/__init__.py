"""Ideas that were measured on the recorded curves and are not part of ``tune-run``."""
