"""Keras scorers: models from consumption histories to scores of all documents, independent of RecSim NG."""

from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.scoring.base import HistoryScorer
from recsys_po_rl.scoring.collab_filtering import CollabFilteringModel
from recsys_po_rl.scoring.gru import GRUModel
from recsys_po_rl.scoring.self_attention import SelfAttentionModel
from recsys_po_rl.scoring.stateful import StatefulScorer

__all__ = [
    "AveragedHistoryModel",
    "CollabFilteringModel",
    "GRUModel",
    "HistoryScorer",
    "SelfAttentionModel",
    "StatefulScorer",
]
