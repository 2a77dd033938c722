"""Argument validation and output, shared by every layer."""
