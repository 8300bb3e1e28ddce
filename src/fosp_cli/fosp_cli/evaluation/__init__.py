"""Evaluation of a bundle on scenarios, in process or through the live graph."""
