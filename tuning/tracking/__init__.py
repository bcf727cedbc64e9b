"""The MLflow outbox."""
