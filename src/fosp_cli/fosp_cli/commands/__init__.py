"""The commands of fosp, by subject. cli.py lists them."""
