"""What shoppers ask for.  ``wishes`` that an item answers (``needs`` are those that name no shelf) are put into words by a
``speaker``, whose words differ from the sellers', and become ``queries``.
"""
