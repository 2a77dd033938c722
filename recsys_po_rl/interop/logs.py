"""Interaction logs in and out of the simulator; needs pyarrow (extra `data`). See docs/logs.md."""

from recsys_po_rl.logs.columns import (
    ColumnMap,
    kuairand_columns,
    kuairec_columns,
    movielens_columns,
    open_bandit_columns,
)
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.reading import (
    InteractionLog,
    load_interactions,
    open_interactions,
    read_interactions,
    read_metadata,
)
from recsys_po_rl.logs.writing import InteractionWriter

__all__ = [
    "ColumnMap",
    "InteractionLog",
    "InteractionWriter",
    "Interactions",
    "kuairand_columns",
    "kuairec_columns",
    "load_interactions",
    "movielens_columns",
    "open_bandit_columns",
    "open_interactions",
    "read_interactions",
    "read_metadata",
]
