"""What is written about items outside the catalogue.  ``reviews`` with true ``aspects`` and sentiments; external text in
``context``, useful, idle or false; both from templates (``phrasing``), and as ``files`` beside a shop.
"""
