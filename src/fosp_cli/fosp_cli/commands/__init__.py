"""One module for each command of fosp."""
