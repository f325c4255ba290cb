"""The HTTP API and the shop page over one live shop."""
