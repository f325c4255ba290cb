"""Methods that find candidates.  One public file is one method."""
