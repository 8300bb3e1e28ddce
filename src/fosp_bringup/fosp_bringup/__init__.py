"""Bring-up of fosp: the stack as data, its supervisor and lifecycle manager, launch files and security policies."""
