"""How items look.  An item's address in the column ``images`` (``catalogue.appearance``) becomes a ``scene`` of ``shapes``,
``garments`` and ``surfaces``, all made of ``marks``: as SVG, or as pixels by ``raster``.  ``figures`` wear garments, for try-on.
"""
