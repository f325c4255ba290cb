"""Learners that follow a stream.  One public file is one part."""
