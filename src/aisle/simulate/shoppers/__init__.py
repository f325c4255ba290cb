"""Who comes, and what they do.  The ``population`` and its tastes; what has ``appeal``; ``asking`` for something; ``visits``
and pages; ``examination`` of a page by a click model, ``behaviour`` on what was seen, and the ``memory`` of it all.
"""
