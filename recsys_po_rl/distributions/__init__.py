"""Probability distributions of slates."""
