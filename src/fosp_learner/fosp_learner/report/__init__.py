"""Report of a training run: figures as PNG, and one HTML page that holds them all."""
