"""Writes benchmarks/results/STRANGERS.md: agents of other libraries in the paired table of the default experiment.

PYTHONPATH=. python benchmarks/strangers.py RUN_OF_SEED_0 RUN_OF_SEED_1

RUNs are finished runs of the default experiment, one corpus each; their learned policies are evaluated again on the
same users. Needs `pip install ".[gym,stable-baselines3]"`. The trainings need both cores for themselves.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import tempfile
import time
from typing import Any

import gin
import gymnasium

import recsys_po_rl.interop  # noqa: F401  (registers the environments; before TensorFlow)
from examples import numpy_reinforce, stable_baselines3_ppo
from recsys_po_rl.cli import parser as command_line
from recsys_po_rl.interop.gymnasium import ENVIRONMENT_ID

PAGE = pathlib.Path(__file__).resolve().parent / "results" / "STRANGERS.md"
POLICIES = ("uniform_random", "popular_by_clicks", "best_fixed_slate", "lin_ucb")
LABELS = {
    "ppo": "PPO of Stable-Baselines3",
    "numpy": "REINFORCE in NumPy",
    "lin_ucb": "`lin_ucb`",
    "best_fixed_slate": "`best_fixed_slate`",
    "popular_by_clicks": "`popular_by_clicks`",
    "uniform_random": "`uniform_random`",
    "learned": "`learned`",
}
NUMPY_EPISODES = 150
NUM_ENVS = 500


def train(corpus_seed: int, minutes: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Train both strangers; return their policies and what their training took."""
    bindings = [f"recsys_po_rl.experiment.corpus_seed = {corpus_seed}"]
    started = time.perf_counter()
    ppo, user_steps = stable_baselines3_ppo.train(bindings, minutes, 10**9, NUM_ENVS)
    took = {"ppo": f"{user_steps:,} user-steps, {(time.perf_counter() - started) / 60:.1f} minutes"}
    started = time.perf_counter()
    env = gymnasium.make_vec(ENVIRONMENT_ID, num_envs=NUM_ENVS, gin_bindings=bindings, autoreset_mode="DISABLED")
    weights = numpy_reinforce.train(env, NUMPY_EPISODES, seed=corpus_seed)
    user_steps = NUMPY_EPISODES * NUM_ENVS * env.unwrapped.horizon
    took["numpy"] = f"{user_steps:,} user-steps, {(time.perf_counter() - started) / 60:.1f} minutes"
    return {"ppo": ppo, "numpy": numpy_reinforce.policy_of(weights)}, took


def evaluated(run: str, corpus_seed: int, acts: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a run's learned policy and the strangers on the run's own users; return its evaluation.json."""
    external, bindings = [], []
    for name, act in acts.items():
        registered = f"strangers.{name}_{corpus_seed}"
        gin.external_configurable(act, registered)
        external.append(f"@{name}/recsys_po_rl.external_policy")
        bindings.append(f"{name}/recsys_po_rl.external_policy.act = @{registered}")
    policies = [*(f"@recsys_po_rl.{name}" for name in POLICIES), *external]
    bindings.append(f"recsys_po_rl.experiment.policies = [{', '.join(policies)}]")
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "evaluation")
        flags = [flag for binding in bindings for flag in ("--gin_bindings", binding)]
        code = command_line.main(["--mode", "evaluate", run, "--output_dir", output, *flags], "strangers.py")
        if code:
            raise SystemExit(code)
        return json.loads(pathlib.Path(output, "evaluation.json").read_text(encoding="utf-8"))


def rows(evaluation: dict[str, Any], took: dict[str, str]) -> list[str]:
    """Return the rows of a corpus, best policy first."""
    lines = [
        "| policy | training | reward | 95% interval | minus `learned` | 95% interval |",
        "|---|---|---|---|---|---|",
    ]
    policies = {name.split("/")[0]: values for name, values in evaluation["policies"].items()}
    shown = {name: policies[name] for name in LABELS}
    for name, values in sorted(shown.items(), key=lambda item: -item[1]["mean"]):
        low, high = values["interval95"]
        difference = values["minus_learned"]
        paired = "" if name == "learned" else f"{difference['mean']:+.2f}"
        interval = "" if name == "learned" else "{:+.2f} to {:+.2f}".format(*difference["interval95"])
        lines.append(
            f"| {LABELS[name]} | {took.get(name, '')} | {values['mean']:.2f} | {low:.2f} to {high:.2f} "
            f"| {paired} | {interval} |"
        )
    return lines


def main() -> None:
    """Train, evaluate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--minutes", type=float, default=20, help="time limit of PPO's training")
    flags = parser.parse_args()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("stable-baselines3", "torch", "gymnasium", "numpy")
    )
    lines = [
        "# Agents of other libraries",
        "",
        f"Made by `python benchmarks/strangers.py` on {datetime.date.today()}: {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, {versions}.",
        "",
        "The world is that of the default experiment; all policies of a table met the same users and random draws.",
        f"PPO was stopped after {flags.minutes:g} minutes.",
    ]
    for run in flags.runs:
        before = json.loads(pathlib.Path(run, "evaluation.json").read_text(encoding="utf-8"))
        seed = before["corpus_seed"]
        acts, took = train(seed, flags.minutes)
        trained = json.loads(pathlib.Path(run, "timings.json").read_text(encoding="utf-8"))["training"]
        took["learned"] = f"{trained / 60:.1f} minutes"
        lines += ["", f"## Corpus {seed}", "", *rows(evaluated(run, seed, acts), took)]
        print("\n".join(lines))
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
