"""Worlds with known truth: generated shops for the demo, for tests and for claims that need a log."""
