"""The page docs/safety.md, generated from the code."""
