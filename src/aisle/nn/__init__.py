"""Torch blocks and text encoders that methods share."""
