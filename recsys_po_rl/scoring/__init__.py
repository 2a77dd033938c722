"""Keras scorers: histories in, scores of all documents out. They know nothing of RecSim NG."""

from recsys_po_rl.scoring.collab_filtering import CollabFilteringModel

__all__ = ["CollabFilteringModel"]
