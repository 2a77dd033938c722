"""Pretraining on a log of a popularity policy, and what it is worth for reinforcement learning.

    python benchmarks/pretraining.py run [--seeds 0 1 2] [--scratch RUN]   # about 20 minutes a seed on two cores
    python benchmarks/pretraining.py page    # results/PRETRAINING.md and its figure, from results/pretraining.json

For each seed: a log of 100 000 users of the default world, to whom documents were shown in proportion to a power
of their popularity; the default's scorer, pretrained on it, with and without inverse-propensity weights; the default
experiment from the former, and from fresh weights. Folders go to runs/pretraining/seed_N; what is there is not made
again. With --scratch, the trainings from fresh weights are those of seed_N of another run of the default's learner.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "pretraining"
RESULTS = ROOT / "benchmarks" / "results"
KEPT, PAGE, FIGURE = RESULTS / "pretraining.json", RESULTS / "PRETRAINING.md", RESULTS / "pretraining.png"
ENTRY = "recsys_po_rl.experiment"
LOG_USERS, LOG_HORIZON, POWER = 100_000, 50, 2.0
FIRST_STEPS = 20  # of reinforcement learning
FIT = (  # larger and fewer updates than by default, whose batches are small for a log of this size
    "recsys_po_rl.pretrain.batch_size = 8192",
    "recsys_po_rl.pretrain.optimizer = @tf.keras.optimizers.Adam",
    "tf.keras.optimizers.Adam.learning_rate = 0.01",
)
SCRATCH, PRETRAINED = "scratch", "pretrained"
PRETRAININGS = {PRETRAINED: False, "pretrained_ipw": True}  # with inverse-propensity weights?
LABELS = {
    SCRATCH: "fresh weights",
    PRETRAINED: "pretrained",
    "pretrained_ipw": "pretrained, inverse propensities",
}
STARTS = {SCRATCH: "#777777", PRETRAINED: "#1f5fa8"}  # of trainings, with the colours of their curves
LOGGING = "sampled_by_popularity"
POLICIES = f"{ENTRY}.policies = [@recsys_po_rl.uniform_random, @recsys_po_rl.{LOGGING}]"
POWER_OF_LOG = f"recsys_po_rl.{LOGGING}.power = {POWER}"


class Interval(NamedTuple):
    """Mean with its 95% interval over users."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def simulate(folder: pathlib.Path, arguments: Sequence[str], bindings: Sequence[str]) -> None:
    """Run the command line in a fresh process, unless its folder is whole; resume a training that was stopped."""
    if (folder / "timings.json").exists() or (folder / "log.parquet").exists():
        return
    command = [sys.executable, "run_simulation.py", *arguments]
    if folder.exists() and arguments:  # only trainings are resumed
        shutil.rmtree(folder)
    if folder.exists():
        command.append("--resume")
    else:
        command += [part for binding in bindings for part in ("--gin_bindings", binding)]
    print("+", " ".join(command), flush=True)
    subprocess.run([*command, "--output_dir", str(folder)], cwd=ROOT, check=True)


def run_seed(seed: int) -> None:
    """Write the log of a seed, pretrain on it, and train from each start."""
    folder = RUNS / f"seed_{seed}"
    seeds = f"{ENTRY}.seeds = [{seed}]"
    world = [seeds, POLICIES, POWER_OF_LOG]
    few = [f"{ENTRY}.num_evaluation_users = 1000", f"{ENTRY}.num_validation_users = 1000"]
    simulate(folder / "base", [], [*world, *few, f"{ENTRY}.num_training_steps = 0"])
    simulate(
        folder / "log",
        ["--mode", "log", str(folder / "base"), "--users", str(LOG_USERS), "--policies", LOGGING],
        [f"{ENTRY}.horizon = {LOG_HORIZON}"],
    )
    for name, weighted in PRETRAININGS.items():
        arguments = ["--mode", "pretrain", str(folder / "log" / "log.parquet")]
        options = [f"recsys_po_rl.pretrain.seed = {seed}", f"recsys_po_rl.pretrain.inverse_propensity = {weighted}"]
        simulate(folder / "pretraining" / name, arguments, [*options, *FIT])
    start = f"{ENTRY}.pretrained = '{folder / 'pretraining' / PRETRAINED}'"
    simulate(folder / PRETRAINED, [], [*world, start])


def rewards(folder: pathlib.Path) -> list[float]:
    """Return the mean reward of the users of each training step."""
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("mean_reward")
    return [float(row.split(",")[column]) for row in rows]


def results_of(seed: int, scratch: pathlib.Path) -> dict[str, Any]:
    """Return what is kept of a seed."""
    from recsys_po_rl.evaluation import statistics
    from recsys_po_rl.run_folder import per_user

    folder = RUNS / f"seed_{seed}"
    folders = {SCRATCH: scratch, PRETRAINED: folder / PRETRAINED}
    users = {name: per_user.load(str(path)) for name, path in folders.items()}
    for name, of_run in users.items():
        same = np.array_equal(of_run["uniform_random"], users[SCRATCH]["uniform_random"])
        if not same:
            raise ValueError(f"{folders[name]} and {scratch} have different users")
    kept: dict[str, Any] = {"pretrainings": {}, "rewards": {}, "final": {}}
    for name in PRETRAININGS:
        kept["pretrainings"][name] = json.loads((folder / "pretraining" / name / "pretraining.json").read_text())
    difference = statistics.paired_difference(users[PRETRAINED]["learned"], users[SCRATCH]["learned"])
    kept["final_minus_scratch"] = Interval(difference.mean, *difference.bounds)
    for name, path in folders.items():
        kept["rewards"][name] = rewards(path)
        final = statistics.mean_interval(users[name]["learned"])
        kept["final"][name] = Interval(final.mean, *final.bounds)
    logging = statistics.mean_interval(users["pretrained"][LOGGING])
    kept["logging_policy"] = Interval(logging.mean, *logging.bounds)
    return kept


def run(seeds: Sequence[int], scratch: Optional[pathlib.Path]) -> None:
    """Run the study of some seeds, and keep their results beside those of the others."""
    for seed in seeds:
        run_seed(seed)
        if scratch is None:
            simulate(RUNS / f"seed_{seed}" / SCRATCH, [], [f"{ENTRY}.seeds = [{seed}]", POLICIES, POWER_OF_LOG])
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for seed in seeds:
        from_scratch = RUNS / f"seed_{seed}" / SCRATCH if scratch is None else scratch / f"seed_{seed}"
        kept[str(seed)] = results_of(seed, from_scratch)
    KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        f"| {' | '.join(header)} |",
        "|---|" + "---:|" * (len(header) - 1),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def shown(measure: Mapping[str, Any], sign: str = "") -> str:
    """Return a measure of pretraining.json with its interval."""
    low, high = measure["interval95"]
    return f"{measure['mean']:{sign}.4f} [{low:.4f}, {high:.4f}]"


def ranking_rows(kept: Mapping[str, Any], measure: str) -> list[list[str]]:
    """Return the rows of the table of a measure, by ranking and then by difference."""
    rows = []
    plain = [seed["pretrainings"]["pretrained"] for seed in kept.values()]
    for name in PRETRAININGS:
        records = [seed["pretrainings"][name] for seed in kept.values()]
        rows.append([LABELS[name], *(shown(record["measures"]["scorer"][measure]) for record in records)])
    for name in ("popularity", "random"):
        rows.append([name, *(shown(record["measures"][name][measure]) for record in plain)])
    for name in PRETRAININGS:
        records = [seed["pretrainings"][name] for seed in kept.values()]
        cells = [shown(record["scorer_minus"]["popularity"][measure], "+") for record in records]
        rows.append([f"{LABELS[name]}, minus popularity", *cells])
    return rows


INTRO = (
    "Made by `python benchmarks/pretraining.py run` and `page`. For each seed (of corpus, users and training): a log "
    f"of {LOG_USERS:,} users of the default world over {LOG_HORIZON} slates of 2 documents, drawn in proportion to "
    f"the documents' clicks under random slates to the power of {POWER:g} (`@recsys_po_rl.{LOGGING}`); the default's "
    "scorer (`AveragedHistoryModel`, which remembers clicks, own slates and the step), pretrained on 80% of the "
    "users, stopped by 10%, measured on 10% (`--mode pretrain`); the default experiment (300 steps of 750 users, 100 "
    "slates a user) from the result (`experiment.pretrained`) and from fresh weights. Brackets are 95% intervals over "
    "users; differences are paired."
)


def page() -> None:
    """Write the page and its figure from what is kept."""
    kept = json.loads(KEPT.read_text())
    header = [f"seed {seed}" for seed in kept]
    lines = [
        "# Pretraining on a log of a popularity policy",
        "",
        INTRO,
        "",
        "## Next document: NDCG at 10 on users of the test part",
        "",
        *table(["ranking", *header], ranking_rows(kept, "ndcg_at_10")),
        "",
        "Hit rate at 10:",
        "",
        *table(["ranking", *header], ranking_rows(kept, "hit_rate_at_10")),
        "",
        f"## Rewards of the first {FIRST_STEPS} steps of reinforcement learning",
        "",
        "Mean reward (consumed time in 100 slates) of the 750 users of a step, which both trainings share.",
        "",
        "![Rewards of the first steps](pretraining.png)",
        "",
        *table(["start", *(f"{seed}, {when}" for seed in header for when in ("step 1", f"steps 1 to {FIRST_STEPS}"))], [
            [LABELS[name], *(
                cell
                for seed in kept.values()
                for cell in (
                    f"{seed['rewards'][name][0]:.1f}", f"{np.mean(seed['rewards'][name][:FIRST_STEPS]):.1f}"
                )
            )]
            for name in STARTS
        ]),
        "",
        "## Final policies",
        "",
        "`learned` after the whole training, on fresh users; last the paired differences to fresh weights.",
        "",
        *table(["policy", *header], [
            ["the log's policy", *(str(Interval(*seed["logging_policy"])) for seed in kept.values())],
            *([LABELS[name], *(str(Interval(*seed["final"][name])) for seed in kept.values())] for name in STARTS),
            ["pretrained, minus fresh weights", *(
                f"{mean:+.2f} [{low:.2f}, {high:.2f}]"
                for mean, low, high in (seed["final_minus_scratch"] for seed in kept.values())
            )],
        ]),
    ]  # fmt: skip
    comment = RESULTS / "pretraining_comment.md"
    if comment.exists():
        lines += ["", comment.read_text(encoding="utf-8").rstrip("\n")]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_figure(kept)


def save_figure(kept: Mapping[str, Any]) -> None:
    """Draw the rewards of the first steps, a panel for each seed."""
    from matplotlib.figure import Figure

    from recsys_po_rl.reporting import figures

    figure = Figure(figsize=(3.6 * len(kept) + 0.4, 3.4), layout="constrained")
    panels = figure.subplots(1, len(kept), sharey=True, squeeze=False)[0]
    steps = np.arange(1, FIRST_STEPS + 1)
    for panel, (number, seed) in zip(panels, kept.items()):
        for name, colour in STARTS.items():
            panel.plot(steps, seed["rewards"][name][:FIRST_STEPS], color=colour, linewidth=1.6, label=LABELS[name])
        panel.set_title(f"seed {number}")
        panel.set_xlabel("training step")
        panel.set_xticks([1, 5, 10, 15, 20])
    panels[0].set_ylabel("mean reward of the step's users")
    panels[0].legend(loc="best", frameon=False, fontsize=8)
    figures.save(figure, str(FIGURE))


def main() -> None:
    """Run the study, or write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scratch", type=pathlib.Path)
    flags = parser.parse_args()
    if flags.what == "run":
        run(flags.seeds, flags.scratch)
    page()


if __name__ == "__main__":
    main()
