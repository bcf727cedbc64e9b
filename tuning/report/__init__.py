"""The HTML report of a search, made from its study and checkpoints."""
