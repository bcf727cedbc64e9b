"""Training on one worker."""
