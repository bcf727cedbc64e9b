"""Data sets and weights from the Hugging Face hub and other servers, and the reasons why these do not answer."""
