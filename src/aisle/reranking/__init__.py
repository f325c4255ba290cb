"""Methods that order a list as a whole.  One public file is one method."""
