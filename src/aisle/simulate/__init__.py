"""Worlds with known truth: generated shops for the demo, for tests and for claims that need a log.

A ``world`` is one generated shop, made from its ``knobs`` and found by name in ``worlds``; the folders hold what it is made of
and what is done with it, from the catalogue to the loop, each importing only those below it (table in docs/architecture.md).
``known`` holds tiny shops whose right answer is planted, for tests that must finish in a second.
"""
