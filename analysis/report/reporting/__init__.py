"""Answers to the questions of a medical journal's reviewers: flow of the data, methods, and the CLAIM checklist."""
