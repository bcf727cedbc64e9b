"""Tasks: comparing, scoring and presenting the predictions of one kind."""
