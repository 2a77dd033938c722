"""From the files of a run to pages and pictures; no modelling."""
