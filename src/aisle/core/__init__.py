"""Contracts only: lists, requests, filters, roles, methods, env, registry, state, errors."""
