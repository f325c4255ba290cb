"""Language models: a small one trained from scratch and any pre-trained one, behind one interface (``backbone.py``)."""
