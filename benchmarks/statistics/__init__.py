"""Coverage and choices, where the truth is known."""
