"""Reports: pages and figures from the files of a run, without modelling."""
