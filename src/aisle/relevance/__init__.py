"""Methods that judge whether an item answers a query.  One public file is one method."""
