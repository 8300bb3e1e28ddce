"""Benchmarks of the whole stack: latency, jitter, throughput."""
