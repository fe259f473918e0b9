"""Misfortune: jitter, stragglers, slow chips, degraded links, failures, and the distribution of a step under them."""
