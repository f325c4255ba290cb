"""Ways to train several losses at once.  One public file is one part."""
