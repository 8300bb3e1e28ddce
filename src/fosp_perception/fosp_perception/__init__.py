"""Camera and encoder nodes of fosp."""
