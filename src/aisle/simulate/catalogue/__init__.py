"""What a shop sells.  Shelves, attributes and words as data (``taxonomy``, ``wording``, ``german``, ``relations``); what the
products really are (``products`` makes the ``truth``); what sellers make of them (``bank``, ``sellers``, ``appearance``, and
``items``, the CATALOGUE table); a ``second_shop`` in the same market.
"""
