"""Compiled, seeded execution of RecSim NG networks."""
