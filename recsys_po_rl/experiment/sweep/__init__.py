"""Sweeps: trials of an experiment with other values of gin bindings, suggested and pruned by Optuna."""
