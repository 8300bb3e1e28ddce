"""Policy node of fosp: safe policy expansion at control rate."""
