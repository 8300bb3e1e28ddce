"""Remembers what came over time, one subject a module, each with the checks that need it."""
