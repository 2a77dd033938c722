"""Interaction logs for tests."""

import numpy as np
import pandas as pd

from recsys_po_rl.logs import interactions, reading, writing

# Two users, two steps, slates of two documents.
RIGHT = {
    "user_id": [3, 3, 3, 3, 5, 5],
    "step": [0, 0, 1, 1, 0, 0],
    "slot": [0, 1, 0, 1, 0, 1],
    "item_id": [1, 2, 7, 4, 5, 6],
    "clicked": [0, 1, 0, 0, 1, 0],
    "consumed_time": [0, 1.5, 0, 0, 2, 0],
    "propensity": [0.1, 0.1, 1.0, 1.0, np.nan, np.nan],
}


def log_of(columns):
    """Return a log of lists by name; consumed times are 0 if that column is missing."""
    columns = {"consumed_time": np.zeros(len(columns["user_id"])), **columns}
    return interactions.Interactions(
        **{name: np.asarray(values, interactions.COLUMNS[name]) for name, values in columns.items()}
    )


def changed(column, row, value):
    """Return the log `RIGHT` with another value in one row of a column."""
    return log_of({**RIGHT, column: [value if i == row else old for i, old in enumerate(RIGHT[column])]})


def opened(tmp_path, table, map_=None, suffix=".csv", **options):
    """Write columns to a CSV or Parquet file, and open it as a log."""
    path = tmp_path / f"log{suffix}"
    frame = pd.DataFrame(table)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return reading.open_interactions(path, map_, **options)


def random_log(num_users=50, num_steps=4, slate_size=3, seed=0):
    """Log with all columns, of random bits."""
    random = np.random.default_rng(seed)
    size = num_users * num_steps * slate_size
    slot = np.tile(np.arange(slate_size), num_users * num_steps)
    clicked = slot == np.repeat(random.integers(0, slate_size + 1, num_users * num_steps), slate_size)
    bits = random.integers(0, 0x7F800000, size).astype(np.uint32)  # every finite float32 of at least 0
    prefix, item = random.random((2, size)) + 2.0**-53
    prefix = -np.sort(-prefix.reshape(-1, slate_size), axis=1)
    joint = np.repeat(prefix[:, -1], slate_size)
    propensities = np.stack([joint, prefix.ravel(), item])
    propensities[random.random((3, size)) < 0.2] = np.nan
    return log_of(
        {
            "user_id": np.repeat(random.permutation(2**40 + np.arange(num_users)), num_steps * slate_size),
            "step": np.tile(np.repeat(np.arange(num_steps), slate_size), num_users),
            "slot": slot,
            "item_id": random.integers(1, 2**31, size),
            "clicked": clicked,
            "consumed_time": np.where(clicked, bits.view(np.float32), 0),
            **dict(zip(interactions.PROPENSITIES, propensities)),
            "policy": random.choice(["random", 'few/popular, "by" clicks', None], size),
        }
    )


def written(path, log, parts=3, **options):
    """Write a log in several parts, and return the path."""
    with writing.InteractionWriter(path, **options) as writer:
        for rows in np.array_split(np.arange(log.num_rows), parts):
            writer.write(log.take(rows))
    return str(path)
