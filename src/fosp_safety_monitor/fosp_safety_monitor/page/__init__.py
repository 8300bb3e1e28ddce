"""Writes docs/safety.md from the code."""
