"""Code that trial processes run, and what the driver shares with them."""
