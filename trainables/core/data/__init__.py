"""Images, from files to batches."""
