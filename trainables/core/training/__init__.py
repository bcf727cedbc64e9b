"""Training: epochs, losses, optimizers, schedules and metrics."""
