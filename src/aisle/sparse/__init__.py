"""Embedding tables for ids.  One public file is one part."""
