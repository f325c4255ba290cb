"""Measurement: metrics, significance, and experiments that compare plans on the same queries."""
