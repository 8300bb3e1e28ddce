"""Learner of fosp: bags to datasets, world model, critics, actors, calibration, bundles; recorder node."""
