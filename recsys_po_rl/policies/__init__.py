"""Policies that the learned one is compared with."""
