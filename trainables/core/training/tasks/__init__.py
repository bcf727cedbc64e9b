"""Tasks: how a batch is made, what the loss is, and how predictions are scored."""
