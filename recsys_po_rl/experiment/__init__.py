"""Experiments, from the gin configuration to the files of a run folder."""

from recsys_po_rl.experiment.pretrain import PretrainResult
from recsys_po_rl.experiment.run import ExperimentResult, experiment
from recsys_po_rl.experiment.single_seed import SeedResult
from recsys_po_rl.experiment.sweep.run import SweepResult

__all__ = ["ExperimentResult", "PretrainResult", "SeedResult", "SweepResult", "experiment"]
