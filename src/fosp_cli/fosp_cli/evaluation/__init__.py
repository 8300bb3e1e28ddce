"""Evaluation of bundles on scenarios, in process or through the live graph."""
