"""Policies that are evaluated beside the learned one."""
