"""Price of partial observability: the reward lost because the recommender does not observe the users' interest."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.evaluator import Outcome
from recsys_po_rl.evaluation.results import Difference, MeanInterval, Price, PricedPolicy


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


def price_of_partial_observability(outcomes: Mapping[str, Outcome]) -> Price:
    """Compare the rewards of policies with and without access to the interest, on the same users.

    The share of the gap that policy p closes is (p - uniform_random) / (full_information_reference - uniform_random),
    not clipped: the reference is the value of a policy and only a lower bound of the optimum, so a share can exceed 1.

    Args:
      outcomes: outcomes by policy name, on the same users; policies other than the five compared are ignored.

    Returns:
      The price over users. Intervals of means and differences are t intervals, differences and shares are paired, and
      intervals of shares are Fieller's, see `statistics.ratio_of_means`.

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


def pooled(per_seed: Sequence[Price]) -> Price:
    """Return the price over several seeds: the unit is the seed, and all intervals are over seeds.

    Args:
      per_seed: results of `price_of_partial_observability`, at least one; policies missing for a seed are omitted.
    """
    policies = [of_seed.policies for of_seed in per_seed]
    names = [name for name in _ROWS if all(name in of_seed for of_seed in policies)]

    def across_seeds(name: str, key: str) -> np.ndarray:
        return np.array([getattr(of_seed[name], key) for of_seed in policies])

    return _compared(
        "seeds",
        {name: across_seeds(name, "mean") for name in names},
        {name: float(across_seeds(name, "mean_upstream_count").mean()) for name in names},
    )


def _compared(unit: str, values: Mapping[str, np.ndarray], upstream_means: Mapping[str, float]) -> Price:
    gap = values[CEILING] - values[FLOOR] if FLOOR in values and CEILING in values else None
    policies = {}
    for name, of_units in values.items():
        mean = statistics.mean_interval(of_units)
        share = None if gap is None or gap.mean() == 0.0 else statistics.ratio_of_means(of_units - values[FLOOR], gap)
        policies[name] = PricedPolicy(
            label=_ROWS[name].label,
            sees_interest=_ROWS[name].sees_interest,
            mean=mean.mean,
            interval95=mean.bounds,
            mean_upstream_count=upstream_means[name],
            share_of_gap=None if share is None else share.mean,
            share_interval95=None if share is None else share.bounds,
        )
    differences = []
    for name, other in _DIFFERENCES:
        if name in values and other in values:
            difference = statistics.paired_difference(values[name], values[other])
            differences.append(Difference(of=name, minus=other, mean=difference.mean, interval95=difference.bounds))
    return Price(
        unit=unit,
        num_units=max((len(of_units) for of_units in values.values()), default=0),
        policies=policies,
        gap=None
        if gap is None
        else MeanInterval.from_estimate(statistics.paired_difference(values[CEILING], values[FLOOR])),
        differences=differences,
    )
