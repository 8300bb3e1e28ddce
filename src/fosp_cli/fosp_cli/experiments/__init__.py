"""Experiments behind the figures of the docs."""
