"""Online fine-tuning: the buffer of new episodes, the tuner, the gate and the announcement."""
