"""Pre-training: the trainer, its phases, checkpoints and logs."""
