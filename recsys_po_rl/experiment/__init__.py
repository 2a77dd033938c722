"""The gin entry: experiments from configuration to files."""

from recsys_po_rl.experiment.seed_run import SeedResult
from recsys_po_rl.experiment.train_and_evaluate import ExperimentResult, experiment

__all__ = ["ExperimentResult", "SeedResult", "experiment"]
