"""Who judges pairs of query and item.  The ``gradebook`` keeps true grades by the million; the ``annotator`` sees a pool and
errs in a stated way; ``bayes`` is the best that any reader of displayed text can do, by ``reading`` each attribute.
"""
