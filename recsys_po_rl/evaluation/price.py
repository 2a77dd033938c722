"""Price of partial observability: what each thing that a recommender may observe is worth, up to the interest."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.evaluator import Outcome
from recsys_po_rl.evaluation.results import Difference, MeanInterval, Price, PricedPolicy


class _Row(NamedTuple):
    label: str
    sees_interest: bool


LEARNED = "learned"
FLOOR, CEILING = "uniform_random", "full_information_reference"  # ends of the gap
_ROWS: Mapping[str, _Row] = {
    FLOOR: _Row("random slates", False),
    "learned": _Row("learned", False),
    "learned_clicks": _Row("learned, clicks", False),
    "learned_slates": _Row("learned, clicks and slates", False),
    "learned_step": _Row("learned, clicks and step", False),
    "learned_slates_and_step": _Row("learned, clicks, slates and step", False),
    "belief_reference": _Row("belief reference", False),
    "learned_interest": _Row("learned, sees the interest", True),
    "learned_full_information": _Row("learned, sees interest and step", True),
    CEILING: _Row("reference, sees interest and step", True),
}
# Positions of the dial of observability without the interest, by the recommender's memory beside the clicks.
POSITIONS: Mapping[frozenset[str], str] = {
    frozenset(): "learned_clicks",
    frozenset({"slates"}): "learned_slates",
    frozenset({"step"}): "learned_step",
    frozenset({"slates", "step"}): "learned_slates_and_step",
}
# Differences to report: (better informed or more able policy, other policy). `learned` stands for its position.
_DIFFERENCES = (
    ("learned_slates", "learned_clicks"),
    ("learned_step", "learned_clicks"),
    ("learned_slates_and_step", "learned_clicks"),
    ("learned_interest", "learned_clicks"),
    ("learned_full_information", "learned_interest"),
    ("learned_full_information", "learned_slates_and_step"),
    ("learned_full_information", "learned"),
    (CEILING, "belief_reference"),
    ("belief_reference", "learned"),
    (CEILING, "learned_full_information"),
)


def position_of(recommender: Any) -> Optional[str]:
    """Return the position of a recommender that does not observe the interest; None for an unknown memory."""
    return POSITIONS.get(frozenset(getattr(recommender, "memory", ())))


def price_of_partial_observability(outcomes: Mapping[str, Outcome], learned_position: Optional[str] = None) -> Price:
    """Compare the rewards of policies that observe more or less, on the same users.

    The share of the gap that policy p closes is (p - uniform_random) / (full_information_reference - uniform_random),
    not clipped: the reference is the value of a policy and only a lower bound of the optimum, so a share can exceed 1.

    Args:
      outcomes: outcomes by policy name, on the same users; policies that are not compared are ignored.
      learned_position: position of `learned`, of the values of `POSITIONS`, which it takes where that policy is not
        evaluated itself; None: `learned` observes otherwise, or is unknown.

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
        learned_position,
    )


def pooled(per_seed: Sequence[Price]) -> Price:
    """Return the price over several seeds: the unit is the seed, and all intervals are over seeds.

    Args:
      per_seed: results of `price_of_partial_observability`, at least one; policies missing for a seed are omitted.
    """
    policies = [of_seed.policies for of_seed in per_seed]
    positions = {of_seed.learned_position for of_seed in per_seed}
    names = [name for name in _ROWS if all(name in of_seed for of_seed in policies)]

    def across_seeds(name: str, key: str) -> np.ndarray:
        return np.array([getattr(of_seed[name], key) for of_seed in policies])

    return _compared(
        "seeds",
        {name: across_seeds(name, "mean") for name in names},
        {name: float(across_seeds(name, "mean_upstream_count").mean()) for name in names},
        positions.pop() if len(positions) == 1 else None,
    )


def _compared(
    unit: str,
    values: Mapping[str, np.ndarray],
    upstream_means: Mapping[str, float],
    learned_position: Optional[str],
) -> Price:
    gap = values[CEILING] - values[FLOOR] if FLOOR in values and CEILING in values else None
    policies = {}
    for name, of_units in values.items():
        mean = statistics.mean_interval(of_units)
        share = None if gap is None or gap.mean() == 0.0 else statistics.ratio_of_means(of_units - values[FLOOR], gap)
        policies[name] = PricedPolicy(
            label=_ROWS[learned_position or name if name == LEARNED else name].label,
            sees_interest=_ROWS[name].sees_interest,
            mean=mean.mean,
            interval95=mean.bounds,
            mean_upstream_count=upstream_means[name],
            share_of_gap=None if share is None else share.mean,
            share_interval95=None if share is None else share.bounds,
        )
    differences: list[Difference] = []
    standing_for = {name: name for name in values}
    if LEARNED in values and learned_position is not None:
        standing_for.setdefault(learned_position, LEARNED)
    for name, other in _DIFFERENCES:
        better, minus = standing_for.get(name), standing_for.get(other)
        known = {(difference.of, difference.minus) for difference in differences}
        if better is not None and minus is not None and (better, minus) not in known:
            difference = statistics.paired_difference(values[better], values[minus])
            differences.append(Difference(of=better, minus=minus, mean=difference.mean, interval95=difference.bounds))
    return Price(
        unit=unit,
        num_units=max((len(of_units) for of_units in values.values()), default=0),
        policies=policies,
        gap=None
        if gap is None
        else MeanInterval.from_estimate(statistics.paired_difference(values[CEILING], values[FLOOR])),
        differences=differences,
        learned_position=learned_position,
    )
