"""Tasks: how predictions of one kind are compared, scored and shown after a search."""
