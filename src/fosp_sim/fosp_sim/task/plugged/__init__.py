"""Environments that a user plugs in as simulated worlds: with a camera, a reward, a cost and Gymnasium's `step`."""
