"""Methods that write columns of items and requests before retrieval.  One public file is one method."""
