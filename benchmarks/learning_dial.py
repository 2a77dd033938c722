"""Tables of docs/LEARNING.md on the dial of observability and on the warm start."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from learning_results import KEPT, POLICIES, REFERENCE, half_width, seeds_of, table, upstream_mean

# Studies of the dial of observability.
DIALS = {
    "dial_k2": "Two topics",
    "dial": "Ten topics",
    "dial_k20": "Twenty topics",
    "dial_unseen": "Ten topics, corpora on which nothing was chosen",
    "dial_training_seeds": "Ten topics, corpus 0 with three training seeds",
}
DIAL = {
    "learned_clicks": "clicks",
    "learned_slates": "clicks and own slates",
    "learned_step": "clicks and step",
    "learned_slates_and_step": "clicks, own slates and step",
    "learned_interest": "interest, without the step",
    "learned_full_information": "interest and step",
    "belief_reference": "belief reference: dynamics, clicks, own slates and step",
    REFERENCE: "full-information reference: dynamics, interest and step",
}
# Steps of the dial, as in `price`: (better informed, other).
STEPS = {
    ("learned_slates", "learned_clicks"): "own slates, beside the clicks",
    ("learned_step", "learned_clicks"): "the step, beside the clicks",
    ("learned_slates_and_step", "learned_clicks"): "own slates and step, beside the clicks",
    ("learned_interest", "learned_clicks"): "the interest, beside the clicks",
    ("learned_full_information", "learned_interest"): "the step, beside the interest",
    ("learned_full_information", "learned_slates_and_step"): "the interest, beside clicks, slates and step",
    (REFERENCE, "belief_reference"): "the interest, to who knows the dynamics",
}


def dial_lines() -> list[str]:
    """Return the tables of the dial of observability, world by world; none before the studies were run."""
    if not any(seeds_of(study) for study in DIALS):
        return []
    lines = ["", "## The dial of observability", ""]
    lines.append(
        "Same learner, schedule and users; the recommender observes more from row to row (`experiments/dial.gin`). "
        "First what users consume in 99 responses, with half-widths of 95% intervals over users; then what each step "
        "of the dial is worth in 100 responses: paired differences, with 95% intervals over users. These hold for the "
        "two trainings that are compared; another training seed moves a mean by up to a unit (see *Training seeds*)."
    )
    for study, title in DIALS.items():
        evaluations = seeds_of(study)
        if not evaluations:
            continue
        columns = [f"corpus {evaluation['corpus_seed']}" for evaluation in evaluations]
        if len(set(columns)) < len(columns):
            columns = [f"training seed {evaluation['seed']}" for evaluation in evaluations]
        lines += ["", f"**{title}**", "", table(["observes", *columns, "mean"], dial_rows(evaluations))]
        lines += ["", table(["worth of", *columns, "mean"], worth_rows(evaluations))]
    return lines


def warm_start_lines() -> list[str]:
    """Return what a warm start from the planner is worth, policy by policy; nothing before the study was run."""
    path = KEPT / "warm_start" / "paired.json"
    if not path.exists():
        return []
    by_seed: dict[str, dict[str, Any]] = json.loads(path.read_text())
    evaluations = seeds_of("warm_start")
    rows = []
    for policy in ("learned", "learned_full_information"):
        cells = []
        for evaluation in evaluations:
            difference = by_seed[f"seed_{evaluation['seed']}"][policy]
            low, high = difference["interval95"]
            mean = upstream_mean(evaluation, policy)
            cells.append(f"{mean:.1f}, {difference['mean']:+.2f} [{low:.2f}, {high:.2f}]")
        rows.append([POLICIES[policy], *cells])
    return [
        "",
        "## Optimisation apart from information",
        "",
        "Both learners again, on the same users, from weights that imitate the planner that sees the interest (DAgger, "
        "`experiments/warm_start.gin`): the mean of 99 responses, and the paired difference to the same learner "
        "without the warm start.",
        "",
        table(["warm start", *(f"corpus {evaluation['corpus_seed']}" for evaluation in evaluations)], rows),
    ]


def dial_rows(evaluations: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Means of the positions of the dial, by seed; `learned` stands for its position."""
    rows = []
    for position, label in DIAL.items():
        standing = [policy_at(evaluation, position) for evaluation in evaluations]
        if any(name is None for name in standing):
            continue
        means = [upstream_mean(evaluation, str(name)) for evaluation, name in zip(evaluations, standing)]
        widths = [half_width(evaluation["policies"][name]) for evaluation, name in zip(evaluations, standing)]
        cells = [f"{mean:.1f} ±{width:.1f}" for mean, width in zip(means, widths)]
        rows.append([label, *cells, f"{np.mean(means):.1f}"])
    return rows


def policy_at(evaluation: Mapping[str, Any], position: str) -> Optional[str]:
    """The policy at a position of the dial; None without one."""
    if position in evaluation["policies"]:
        return position
    stands = evaluation["price_of_partial_observability"].get("learned_position") == position
    return "learned" if stands else None


def worth_rows(evaluations: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Paired differences between positions of the dial, by seed."""
    rows = []
    for (better, other), label in STEPS.items():
        differences = []
        for evaluation in evaluations:
            names = policy_at(evaluation, better), policy_at(evaluation, other)
            differences += [
                difference
                for difference in evaluation["price_of_partial_observability"]["differences"]
                if (difference["of"], difference["minus"]) == names
            ]
        if len(differences) == len(evaluations):
            cells = [
                f"{difference['mean']:+.2f} [{difference['interval95'][0]:.2f}, {difference['interval95'][1]:.2f}]"
                for difference in differences
            ]
            rows.append([label, *cells, f"{np.mean([difference['mean'] for difference in differences]):+.2f}"])
    return rows
