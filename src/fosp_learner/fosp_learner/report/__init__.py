"""What a training run leaves to look at: figures as PNG, and one HTML page that holds them all."""
