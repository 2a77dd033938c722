"""Results of learning studies: readers of benchmarks/results/learning/, and what all parts of the page write alike."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

KEPT = pathlib.Path(__file__).resolve().parent / "results" / "learning"
RANDOM, REFERENCE, PAIR = "uniform_random", "full_information_reference", "best_fixed_slate"
# By policy: its name in tables.
POLICIES = {
    RANDOM: "uniform random",
    "popular_by_clicks": "most clicked",
    "popular_by_time": "most consumed",
    "best_fixed_topic": "best fixed topic",
    PAIR: "best fixed slate",
    "learned": "**learned from histories**",
    "learned_last": "learned, last instead of best step",
    "learned_greedy": "learned, best-scored documents",
    "belief_reference": "belief reference (knows the dynamics)",
    "myopic_full_information": "myopic, sees the interest",
    "learned_full_information": "learned, sees the interest",
    "tuned_full_information": "tuned score, sees the interest",
    REFERENCE: "full-information reference",
}


def evaluation_of(study: str) -> Optional[dict[str, Any]]:
    """A study's evaluation.json, or None if it was not run."""
    path = KEPT / study / "evaluation.json"
    return json.loads(path.read_text()) if path.exists() else None


def seeds_of(study: str) -> list[dict[str, Any]]:
    """The evaluations of a study's seeds; empty if it was not run."""
    evaluation = evaluation_of(study)
    return [] if evaluation is None else evaluation.get("per_seed", [evaluation])


def upstream_mean(evaluation: Mapping[str, Any], policy: str = "learned") -> float:
    """Mean over users of what the first 99 responses brought."""
    return float(evaluation["policies"][policy]["mean_upstream_count"])


def share(evaluation: Mapping[str, Any], policy: str = "learned") -> float:
    """Share of the gap from random slates to the full-information reference, on the 99 responses."""
    floor, ceiling = upstream_mean(evaluation, RANDOM), upstream_mean(evaluation, REFERENCE)
    return (upstream_mean(evaluation, policy) - floor) / (ceiling - floor)


def half_width(entry: Mapping[str, Any]) -> float:
    """Of a 95% interval."""
    low, high = entry["interval95"]
    return float(high - low) / 2


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
