"""Writes docs/LEARNING.md and its figures from benchmarks/results/learning/ alone; called by learning.py."""

import csv
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from learning_dial import dial_lines, warm_start_lines
from learning_results import (
    KEPT,
    PAIR,
    POLICIES,
    RANDOM,
    REFERENCE,
    evaluation_of,
    half_width,
    seeds_of,
    share,
    table,
    upstream_mean,
)

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.reporting import figures
from recsys_po_rl.run_folder import schema

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
MEASURES = {
    "reward_per_step": "reward per step",
    "click_rate": "click rate",
    "mean_quality_consumed": "mean quality consumed",
    "share_positive_quality": "share from positive quality",
    "interest_drift": "interest drift",
    "catalogue_coverage": "catalogue coverage",
    "slate_diversity": "slate diversity",
}


def world_table(study: str) -> str:
    """Policies of a study by corpus: means with half-widths, and the mean share of the gap."""
    evaluations = seeds_of(study)
    for evaluation, baselines in zip(evaluations, seeds_of(f"{study}_baselines")):
        if (evaluation["seed"], evaluation["world"]) != (baselines["seed"], baselines["world"]):
            raise ValueError(f"{study}_baselines must have the users of {study}")
        evaluation["policies"] = {**baselines["policies"], **evaluation["policies"]}
    names = [name for name in POLICIES if all(name in evaluation["policies"] for evaluation in evaluations)]
    rows = []
    for name in names:
        cells = [
            f"{upstream_mean(evaluation, name):.1f} ±{half_width(evaluation['policies'][name]):.1f}"
            for evaluation in evaluations
        ]
        shares = np.mean([share(evaluation, name) for evaluation in evaluations])
        mean = np.mean([upstream_mean(evaluation, name) for evaluation in evaluations])
        rows.append([POLICIES[name], *cells, f"{mean:.1f}", f"{shares:.0%}"])
    return table(
        ["policy", *(f"corpus {evaluation['corpus_seed']}" for evaluation in evaluations), "mean", "of the gap"], rows
    )


def best_blind(evaluation: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The best policy that neither learned nor knows interests or dynamics, and its difference to the learned."""
    seeing = {*evaluation["full_information"], REFERENCE, "belief_reference"}
    rivals = [name for name in evaluation["policies"] if name not in seeing and not name.startswith("learned")]
    best = max(rivals, key=lambda name: evaluation["policies"][name]["mean"])
    return best, evaluation["policies"][best]["minus_learned"]


def minus(difference: Mapping[str, Any]) -> str:
    """A difference to the learned policy, seen from that policy."""
    low, high = difference["interval95"]
    return f"{-difference['mean']:+.2f} [{-high:.2f}, {-low:.2f}]"


def fresh_users_lines() -> list[str]:
    """The default's and the headline's policies on users of a seed with which nothing was chosen."""
    rows = []
    for study, schedule in (("v0_1_fresh_users", "default of 0.1.0"), ("headline_fresh_users", "headline of 0.1.0")):
        evaluations = seeds_of(study)
        for evaluation in evaluations:
            name, difference = best_blind(evaluation)
            rows.append(
                [
                    f"{schedule}, corpus {evaluation['corpus_seed']}",
                    f"{upstream_mean(evaluation):.1f} ±{half_width(evaluation['policies']['learned']):.1f}",
                    f"{POLICIES[name]}: {minus(difference)}",
                    f"{share(evaluation):.0%}",
                ]
            )
        if evaluations:
            mean = np.mean([upstream_mean(evaluation) for evaluation in evaluations])
            shares = np.mean([share(evaluation) for evaluation in evaluations])
            rows.append([f"{schedule}, mean", f"{mean:.2f}", "", f"{shares:.0%}"])
    if not rows:
        return []
    return [
        "",
        "## Users with whom nothing was chosen",
        "",
        "The tables above show corpora 0 and 1 on the users that were also looked at when the recipe was chosen. The "
        "same policies on 2000 other users of the same corpora (evaluation seed 1000), minus the best policy there "
        "that knows neither interests nor how users behave (paired, 100 responses):",
        "",
        table(["schedule and corpus", "learned", "learned minus", "of the gap"], rows),
    ]


def worlds() -> list[str]:
    """The tables of the three worlds, and what the paired intervals say."""
    titles = {
        "default": "## Ten topics, the default experiment",
        "v0_1": "## Ten topics, clicks only (`experiments/v0_1.gin`)",
        "k2": "## Two topics, clicks only",
        "k20": "## Twenty topics, clicks only",
    }
    lines: list[str] = []
    for study, title in titles.items():
        evaluations = seeds_of(study)
        if not evaluations:
            continue
        lines += ["", title, "", world_table(study), ""]
        for evaluation in evaluations:
            name, difference = best_blind(evaluation)
            sentence = f"learned minus {POLICIES[name]}, the best that knows neither interests nor how users behave: "
            sentence += minus(difference)
            belief = evaluation["policies"].get("belief_reference")
            if belief is not None:
                sentence += (
                    f"; minus the belief reference, which knows how they behave: {minus(belief['minus_learned'])}"
                )
            lines.append(f"* Corpus {evaluation['corpus_seed']}: {sentence}.")
        path = KEPT / study / "paired.json"
        if path.exists():
            for seed, policies in json.loads(path.read_text()).items():
                low, high = policies["learned"]["interval95"]
                sentence = f"{policies['learned']['mean']:+.2f} [{low:.2f}, {high:.2f}]"
                lines.append(
                    f"* {seed.replace('seed_', 'Corpus ')}: learned minus the same training with clicks only "
                    f"(`experiments/v0_1.gin` on the same machine): {sentence}."
                )
        lines += ["", "Differences are paired, over all 100 responses."]
        details = evaluations[0]["policies"].get(REFERENCE, {}).get("details", {})
        if "grid_change" in details:
            lines += [
                "",
                f"The reference is a dynamic program on a grid of {details['grid_points']} x {details['grid_points']} "
                f"points; half as many intervals change its value by {details['grid_change']:.2f} on corpus "
                f"{evaluations[0]['corpus_seed']}.",
            ]
    return lines


def spread_lines() -> list[str]:
    """Unseen corpora, training seeds on one corpus, the headline schedule."""
    lines: list[str] = []
    unseen = seeds_of("unseen")
    if unseen:
        rows = [
            [
                str(evaluation["corpus_seed"]),
                f"{upstream_mean(evaluation, RANDOM):.1f}",
                f"{upstream_mean(evaluation, PAIR):.1f}",
                f"{upstream_mean(evaluation):.1f} ±{half_width(evaluation['policies']['learned']):.1f}",
                f"{upstream_mean(evaluation, REFERENCE):.1f}",
                f"{share(evaluation):.0%}",
            ]
            for evaluation in unseen
        ]
        shares = statistics.mean_interval(np.array([share(evaluation) for evaluation in unseen]))
        lines += [
            "",
            "## Corpora that nothing was tuned on",
            "",
            table(["corpus", "uniform random", "best fixed slate", "learned", "reference", "of the gap"], rows),
            "",
            f"Mean share of the gap: {shares.mean:.1%} [{shares.low:.1%}, {shares.high:.1%}] (t, over corpora).",
        ]
    repeated = seeds_of("training_seeds")
    if repeated:
        means = [upstream_mean(evaluation) for evaluation in repeated]
        lines += [
            "",
            "## Training seeds",
            "",
            "Corpus 0, five seeds of training and evaluation: "
            + ", ".join(f"{mean:.1f}" for mean in means)
            + f" (lowest {min(means):.1f}, spread {max(means) - min(means):.1f}).",
            "",
            "![Learning curves on corpus 0](../benchmarks/results/learning/curves.png)",
        ]
    headline = seeds_of("headline")
    if headline:
        rows = [
            [
                str(evaluation["corpus_seed"]),
                f"{upstream_mean(evaluation):.1f} ±{half_width(evaluation['policies']['learned']):.1f}",
                f"{upstream_mean(evaluation, REFERENCE):.1f}",
                f"{share(evaluation):.0%}",
                str(evaluation["selection"]["best_step"]),
            ]
            for evaluation in headline
        ]
        first = np.mean([upstream_mean(evaluation) for evaluation in headline[:3]])
        lines += [
            "",
            "## The headline schedule",
            "",
            table(["corpus", "learned", "reference", "of the gap", "best step"], rows),
            "",
            f"Mean over corpora 0 to 2: {first:.2f}.",
        ]
    return lines


def upstream_lines() -> list[str]:
    """Upstream's rule, by its own code and by ours."""
    code, ours = evaluation_of("upstream_code"), seeds_of("upstream_rule")
    if code is None and not ours:
        return []
    rows = []
    if code is not None:
        cells = [
            f"{evaluation['mean_upstream_count']:.1f} ±{half_width(evaluation):.1f}" for evaluation in code["per_seed"]
        ]
        rows.append(["recsim_ng's own entities, model, runtime and training step", *cells])
    if ours:
        cells = [
            f"{upstream_mean(evaluation):.1f} ±{half_width(evaluation['policies']['learned']):.1f}"
            for evaluation in ours
        ]
        rows.append(["the same rule here, `experiments/upstream_rule.gin` (best step)", *cells])
    return [
        "",
        "## The rule of recsim_ng's application",
        "",
        "REINFORCE with the whole return and no baseline, SGD at 1e-4, 100 steps of 1000 users, its scorer and start.",
        "",
        table(["trained by", "corpus 0", "corpus 1", "corpus 2"], rows),
        *(["", _start_decides(repeated)] if (repeated := seeds_of("upstream_rule_seeds")) else []),
    ]


def _start_decides(repeated: Sequence[Mapping[str, Any]]) -> str:
    means = ", ".join(f"{upstream_mean(evaluation):.1f}" for evaluation in repeated)
    return (
        "The two rows start from different weights, and where a run ends depends on its start: four more training "
        f"seeds of the rule here on corpus 0 gave {means}. Gradients of both are equal on the same trajectory "
        "(tests/test_upstream_parity.py)."
    )


def ablation_lines() -> list[str]:
    """Differences of the ablations to the default at the same half schedule, seed by seed."""
    base = {evaluation["seed"]: upstream_mean(evaluation) for evaluation in seeds_of("ablation_none")}
    rows = []
    for folder in sorted(KEPT.glob("ablation_*")):
        evaluations = seeds_of(folder.name)
        if not base or folder.name == "ablation_none":
            continue
        means = [upstream_mean(evaluation) for evaluation in evaluations]
        gain = statistics.mean_interval(
            np.array([upstream_mean(evaluation) - base[evaluation["seed"]] for evaluation in evaluations])
        )
        rows.append(
            [
                f"`{folder.name.removeprefix('ablation_')}`",
                *(f"{mean:.1f}" for mean in means),
                f"{gain.mean:+.1f}",
                f"[{gain.low:+.1f}, {gain.high:+.1f}]",
            ]
        )
    if not rows:
        return []
    rows.sort(key=lambda row: float(row[-2]))
    rows.insert(0, ["the default at 150 steps", *(f"{mean:.1f}" for mean in base.values()), "", ""])
    return [
        "",
        "## Ablations",
        "",
        "Each file of configs/experiments/ablations/ changes one thing. All at 150 steps on corpora 0, 1 and 2; the "
        "unit is the seed, and with three of them intervals are wide.",
        "",
        table(["ablation", "corpus 0", "corpus 1", "corpus 2", "minus the default", "95% t interval"], rows),
    ]


def tried_lines() -> list[str]:
    """Single runs beside the default's on the same corpus."""
    names = sorted(folder.name for folder in KEPT.glob("tried_*"))
    default = [evaluation for evaluation in seeds_of("v0_1") if evaluation["seed"] == 1]
    if not names or not default:
        return []
    rows = [["the default", f"{upstream_mean(default[0]):.1f}"]]
    for name in names:
        (evaluation,) = seeds_of(name)
        rows.append([name.removeprefix("tried_").replace("_", " "), f"{upstream_mean(evaluation):.1f}"])
    return ["", table(["tried on corpus 1, one seed", "learned"], rows)]


def behaviour_lines() -> list[str]:
    """Return the table of users under each policy, by quarter of the horizon, mean over the default's corpora."""
    evaluations = seeds_of("default")
    if not evaluations:
        return []
    corpora = ", ".join(str(evaluation["corpus_seed"]) for evaluation in evaluations)
    shown = [RANDOM, PAIR, "learned", "belief_reference", "learned_full_information", REFERENCE]
    rows = []
    for name in shown:
        entries = [evaluation["policies"][name] for evaluation in evaluations if name in evaluation["policies"]]
        if not entries:
            continue
        cells = []
        for measure in MEASURES:
            quarters = np.mean([entry["quarters"][measure] for entry in entries], axis=0)
            cells.append(" ".join(f"{value:.2f}" for value in quarters))
        rows.append([POLICIES[name], *cells])
    return [
        "",
        "## What the policies do to users",
        "",
        f"Ten topics, mean of corpora {corpora}, one number for each quarter of the horizon.",
        "",
        table(["policy", *MEASURES.values()], rows),
        "",
        f"The learned policy on corpus {evaluations[0]['corpus_seed']}, with half-widths of 95% intervals over users; "
        "those of the other policies are in the study's evaluation.json:",
        "",
        table(["measure", *(f"quarter {number}" for number in (1, 2, 3, 4))], _with_half_widths(evaluations[0])),
    ]


def _with_half_widths(evaluation: Mapping[str, Any]) -> list[list[str]]:
    learned = evaluation["policies"]["learned"]
    rows = []
    for measure, name in MEASURES.items():
        intervals = learned["quarters_interval95"].get(measure) or [None] * 4
        cells = [
            f"{mean:.3f}" if bounds is None else f"{mean:.3f} ±{(bounds[1] - bounds[0]) / 2:.3f}"
            for mean, bounds in zip(learned["quarters"][measure], intervals)
        ]
        rows.append([name, *cells])
    return rows


def variance_lines() -> list[str]:
    """Variance of the gradient under several baselines, on the same rollouts."""
    path = KEPT / "gradient_variance" / "gradient_variance.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        measured = list(csv.DictReader(file))
    steps = sorted({int(row["step"]) for row in measured})
    baselines = list(dict.fromkeys(row["baseline"] for row in measured))
    value = {(row["baseline"], int(row["step"])): float(row["variance"]) for row in measured}
    rows = [[f"`{name}`", *(f"{value[name, step]:.3g}" for step in steps)] for name in baselines]
    return [
        "",
        "## Variance of the gradient",
        "",
        "Trace of the covariance between shards of 125 users, on the same rollouts, under each baseline "
        "(`experiment.gradient_variance_every_steps`).",
        "",
        table(["baseline", *(f"step {step}" for step in steps)], rows),
    ]


def time_lines() -> list[str]:
    """Seconds that the parts of the default experiment took, beside the budget written in its file."""
    path = KEPT / "time" / "timings.json"
    if not path.exists():
        return []
    seconds: dict[str, float] = json.loads(path.read_text())
    text = (DOCS.parent / "configs" / "experiments" / "default.gin").read_text()
    budget = {name: int(number) for name, number in re.findall(r"^#   (\w[\w ,]*?) +(\d+)\b", text, re.MULTILINE)}
    others = sum(seconds.values()) - sum(seconds.get(name, 0.0) for name in budget)
    rows = [[name, str(budget[name]), f"{seconds[name]:.0f}"] for name in budget if name in seconds]
    rows.append(["every other policy", str(budget["every other policy"]), f"{others:.0f}"])
    rows.append(["the sum; with compilation and files", str(budget["whole command"]), f"{sum(seconds.values()):.0f}"])
    return [
        "",
        "## Time",
        "",
        "Seconds of the default experiment on two cores, beside the budget in its file.",
        "",
        table(["part", "budget", "taken"], rows),
    ]


def curves() -> None:
    """Learning curves with bands over seeds: default schedule on one corpus, and over corpora."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for study, label, colour in (
        ("training_seeds", "corpus 0, five training seeds", "#0072B2"),
        ("unseen", "five unseen corpora", "#D55E00"),
        ("upstream_rule", "rule of recsim_ng's application, corpora 0 to 2", "#555555"),
    ):
        path = KEPT / study / "curves.csv"
        if not path.exists():
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        steps = sorted({int(row["step"]) for row in rows})
        by_step = np.array([[float(row["mean_reward"]) for row in rows if int(row["step"]) == step] for step in steps])
        axes.plot(steps, by_step.mean(axis=1), color=colour, label=label)
        axes.fill_between(steps, by_step.min(axis=1), by_step.max(axis=1), color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("training step (1000 fresh users each)")
    axes.set_ylabel("consumed time per user over 100 slates")
    axes.set_title("Mean and range over seeds", fontsize=11)
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.3)
    figures.save(figure, str(KEPT / "curves.png"))


def write() -> None:
    """Writes the page and its figures."""
    curves()
    default = evaluation_of("default")
    picture: list[str] = []
    if default is not None:
        figures.save(
            figures.price_figure(schema.from_json(default, "evaluation.json")),
            str(KEPT / "price_of_partial_observability.png"),
        )
        picture = [
            "",
            "![The price of partial observability](../benchmarks/results/learning/price_of_partial_observability.png)",
        ]
    intro = (KEPT / "intro.md").read_text().rstrip()
    outro = (KEPT / "what_did_not_help.md").read_text().rstrip()
    lines = [
        intro,
        *worlds(),
        *picture,
        *dial_lines(),
        *warm_start_lines(),
        *spread_lines(),
        *fresh_users_lines(),
        *upstream_lines(),
        *ablation_lines(),
    ]
    lines += [*behaviour_lines(), *variance_lines(), *time_lines(), "", outro, *tried_lines()]
    (DOCS / "LEARNING.md").write_text("\n".join(lines) + "\n")
