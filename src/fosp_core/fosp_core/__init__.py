"""Specifications, model bundles, limits and the lifecycle base class of fosp."""
