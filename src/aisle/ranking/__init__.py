"""Methods that score candidates for the order of the page.  One public file is one method."""
