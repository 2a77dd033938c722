"""Price of partial observability: the reward lost because the recommender does not observe the users' interest."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.evaluator import Outcome


class _Row(NamedTuple):
    label: str
    sees_interest: bool


FLOOR, CEILING = "uniform_random", "full_information_reference"  # ends of the gap
_ROWS: Mapping[str, _Row] = {
    FLOOR: _Row("random slates", False),
    "learned": _Row("learned from histories", False),
    "belief_reference": _Row("belief reference, from histories", False),
    "learned_full_information": _Row("learned, sees the interest", True),
    CEILING: _Row("reference, sees the interest", True),
}
# Differences to report: (better informed or more able policy, other policy).
_DIFFERENCES = (
    ("learned_full_information", "learned"),
    (CEILING, "belief_reference"),
    ("belief_reference", "learned"),
    (CEILING, "learned_full_information"),
)


def price_of_partial_observability(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Compare the rewards of policies with and without access to the interest, on the same users.

    The share of the gap that policy p closes is (p - uniform_random) / (full_information_reference - uniform_random),
    not clipped: the reference is the value of a policy and only a lower bound of the optimum, so a share can exceed 1.

    Args:
      outcomes: outcomes by policy name, on the same users; policies other than the five compared are ignored.

    Returns:
      Value of price_of_partial_observability in evaluation.json, where infinite interval ends are None:
        unit ("users"), num_units;
        policies: by name label, sees_interest, mean, interval95 (t), mean_upstream_count, share_of_gap and
          share_interval95 (paired, Fieller's, see `statistics.ratio_of_means`; both None if an end of the gap is
          missing);
        gap: full_information_reference minus uniform_random, mean and interval95 (t, paired), None if one is missing;
        differences: a list of records with the keys of, minus, mean and interval95 (t, paired).

    Raises:
      ValueError: if the policies have different numbers of users.
    """
    compared = {name: outcomes[name] for name in _ROWS if name in outcomes}
    numbers = {name: len(outcome.total) for name, outcome in compared.items()}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"policies must be compared on the same users, got numbers of users {numbers}")
    return _compared(
        "users",
        {name: outcome.total for name, outcome in compared.items()},
        {name: float(outcome.upstream_total.mean()) for name, outcome in compared.items()},
    )


def pooled(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the price over several seeds: the unit is the seed.

    Args:
      per_seed: results of `price_of_partial_observability`, at least one; policies missing for a seed are omitted.

    Returns:
      As `price_of_partial_observability`, with unit "seeds" and all intervals over seeds.
    """
    policies = [of_seed["policies"] for of_seed in per_seed]
    names = [name for name in _ROWS if all(name in of_seed for of_seed in policies)]

    def across_seeds(name: str, key: str) -> np.ndarray:
        return np.array([of_seed[name][key] for of_seed in policies])

    return _compared(
        "seeds",
        {name: across_seeds(name, "mean") for name in names},
        {name: float(across_seeds(name, "mean_upstream_count").mean()) for name in names},
    )


def _compared(unit: str, values: Mapping[str, np.ndarray], upstream_means: Mapping[str, float]) -> dict[str, Any]:
    gap = values[CEILING] - values[FLOOR] if FLOOR in values and CEILING in values else None
    policies = {}
    for name, of_units in values.items():
        mean = statistics.mean_interval(of_units)
        share = None if gap is None or gap.mean() == 0.0 else statistics.ratio_of_means(of_units - values[FLOOR], gap)
        policies[name] = {
            "label": _ROWS[name].label,
            "sees_interest": _ROWS[name].sees_interest,
            "mean": mean.mean,
            "interval95": mean.bounds,
            "mean_upstream_count": upstream_means[name],
            "share_of_gap": None if share is None else share.mean,
            "share_interval95": None if share is None else share.bounds,
        }
    differences = [
        {"of": name, "minus": other, **_difference(values[name], values[other])}
        for name, other in _DIFFERENCES
        if name in values and other in values
    ]
    return {
        "unit": unit,
        "num_units": max((len(of_units) for of_units in values.values()), default=0),
        "policies": policies,
        "gap": None if gap is None else _difference(values[CEILING], values[FLOOR]),
        "differences": differences,
    }


def _difference(values: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    difference = statistics.paired_difference(values, others)
    return {"mean": difference.mean, "interval95": difference.bounds}
