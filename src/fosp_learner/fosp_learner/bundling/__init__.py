"""From trained weights to a calibrated, validated bundle."""
