"""What reviewers of a medical journal ask for: flow of the data, methods, and the CLAIM checklist."""
