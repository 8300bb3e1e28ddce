"""Environments of others as simulated worlds: anything with a camera, a cost and Gymnasium's `step`."""
