"""What differs between kinds of training: how a batch is made, what the loss is, how predictions are scored."""
