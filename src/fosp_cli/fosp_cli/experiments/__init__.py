"""Protocols behind tables of the documentation, whose runs go on where they were interrupted."""
