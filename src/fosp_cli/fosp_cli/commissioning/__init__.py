"""Commissioning: what a robot really does with its commands, measured step by step with an operator beside it."""
