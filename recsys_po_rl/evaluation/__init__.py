"""Evaluation of frozen policies: held-out users, fixed seeds, confidence intervals."""
