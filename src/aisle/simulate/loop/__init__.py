"""Shoppers and a shop in a closed loop.  A ``town`` answers the pages of ``policies``; what happens is a ``log``; the ``oracle``
tells what a policy is worth.  On top of it: ``streams`` for online learning, ``exposure`` targets, two ``domains``.
"""
