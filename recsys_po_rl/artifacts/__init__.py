"""Files in and out: run folders, tables. No modelling."""
