"""Time and memory estimates of an experiment."""
