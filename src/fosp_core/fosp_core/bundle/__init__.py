"""The model bundle: its files, checks, signatures, transfer, and the sessions that run it."""
