"""What an item is worth to whoever asked.  An ``intent`` is what a shopper means; the table of ``rules`` grades an item for
it from 1 to 4 and says why; ``utility`` is a second way to grades, felt and not ruled.
"""
