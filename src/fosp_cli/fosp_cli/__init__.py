"""The fosp command line and what only it uses."""
