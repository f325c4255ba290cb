"""Indexes over one catalogue generation.  ``aisle.engine.embedded`` keeps them inside the process."""
