"""Benchmarks of the whole stack: latency, jitter and throughput."""
