"""Doors to the simulation for other libraries."""
