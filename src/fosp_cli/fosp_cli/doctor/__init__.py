"""Diagnosis of a machine: probes that read it, and checks that judge what was read."""
