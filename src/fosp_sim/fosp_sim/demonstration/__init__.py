"""Scripted demonstrators, and the recording of their episodes as bags."""
