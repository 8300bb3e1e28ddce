"""The judgement of a proposal: pure functions on frozen values."""
