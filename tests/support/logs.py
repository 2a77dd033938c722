"""Interaction logs for tests."""

import numpy as np

from recsys_po_rl.logs import interactions


def log_of(columns):
    """Return a log of lists by name; consumed times are 0 where there are none."""
    columns = {"consumed_time": np.zeros(len(columns["user_id"])), **columns}
    return interactions.Interactions(
        **{name: np.asarray(values, interactions.COLUMNS[name]) for name, values in columns.items()}
    )
