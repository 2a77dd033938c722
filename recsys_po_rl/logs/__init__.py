"""Interaction logs: what was shown, clicked and consumed, in Parquet and CSV files."""
