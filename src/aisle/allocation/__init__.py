"""Methods that share out the places of a page.  One public file is one method."""
