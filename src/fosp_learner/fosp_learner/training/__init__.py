"""Training: the phases and their losses, the trainer, checkpoints and logs."""
