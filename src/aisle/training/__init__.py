"""The training loop and what the learning methods share of it."""
