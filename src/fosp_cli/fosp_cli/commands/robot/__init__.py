"""Commands about a real robot: its file, its cameras, its commissioning, and driving it."""
