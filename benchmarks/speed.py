"""Speed and memory side by side with recsim_ng's own application: writes RESULTS.md and scaling.png beside this file.

    python benchmarks/speed.py            # everything, about 10 minutes
    python benchmarks/speed.py --quick    # the table alone, without scaling and the million users

Warm calls: one process, ours and upstream's in turn, medians of 7. First call and peak memory: fresh processes.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
REPEATS = 7
TABLE = [(1000, 100, 100), (1000, 1000, 100), (200, 10000, 50)]  # users, documents, steps
BARS = {  # of the issue this benchmark answers: train, rollout, first step (s), peak (GB)
    (1000, 100, 100): (4.5, 5, 7, 1.4),
    (1000, 1000, 100): (4, 4, 7, 1.4),
    (200, 10000, 50): (3, None, 7, 1.4),
}
BASE = {"U": 500, "D": 100, "T": 50, "S": 2, "K": 2, "H": 15}
SCALES = {
    "U": [125, 500, 2000],
    "D": [100, 500, 2000],
    "T": [25, 50, 200],
    "S": [1, 2, 4],
    "K": [2, 10, 20],
    "H": [5, 15, 45],
}


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def medians(calls: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Of warm calls, in turn."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(of_call) for name, of_call in times.items()}


def peak_gigabytes() -> float:
    """Largest resident memory of this process so far."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def facade(implementation: str) -> tuple[Any, Any]:
    """The modules for running and for configuring, ours or upstream's."""
    import recsys_po_rl  # noqa: F401  (makes upstream importable)

    if implementation == "ours":
        from recsys_po_rl import interest_evolution_simulation, simulation_config
    else:
        from recsim_ng.applications.recsys_partially_observable_rl import (
            interest_evolution_simulation,
            simulation_config,
        )
    return interest_evolution_simulation, simulation_config


def network(implementation: str, sizes: dict[str, int]) -> Any:
    """Variables and weights."""
    _, config = facade(implementation)
    slate = {"slate_size": sizes["S"]} if implementation == "ours" else {}  # upstream's slates have two documents
    return config.create_interest_evolution_simulation_network(
        num_users=sizes["U"], num_docs=sizes["D"], num_topics=sizes["K"], history_length=sizes["H"], **slate
    )


def train_step(implementation: str, sizes: dict[str, int]) -> Callable[[], Any]:
    """A training step through the facade."""
    simulation, _ = facade(implementation)
    variables, weights = network(implementation, sizes)
    runtime = simulation.make_runtime(variables)
    optimizer = simulation.reset_optimizer(1e-4)
    return simulation.make_train_step(runtime, sizes["T"], sizes["U"], weights, "cumulative_reward", optimizer)


def rollouts(sizes: dict[str, int]) -> dict[str, Callable[[], Any]]:
    """Rollouts of the bare network: nothing but the last value, everything, and as two batches of half the users."""
    import tensorflow as tf
    from recsim_ng.core import network as network_lib
    from recsim_ng.lib.tensorflow import runtime as runtime_lib

    from recsys_po_rl import fields
    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation.runtime import SeededRuntime

    steps = sizes["T"]
    theirs = runtime_lib.TFRuntime(network_lib.Network(network("upstream", sizes)[0]))

    def tensors(values: Any) -> Any:
        return {
            name: {field: tf.convert_to_tensor(tensor) for field, tensor in value.as_dict.items()}
            for name, value in values.items()
        }

    ours = SeededRuntime(network("ours", sizes)[0], mode="xla")
    halves = SeededRuntime(network("ours", {**sizes, "U": sizes["U"] // 2})[0], mode="xla")
    keys = [seeding.make_keys(0, batch=batch) for batch in range(2)]
    record = {fields.METRICS_STATE: [fields.REWARD]}
    return {
        "upstream, none": tf.function(lambda: tensors(theirs.execute(steps - 1)), autograph=False),
        "upstream, all": tf.function(lambda: tensors(theirs.trajectory(steps)), autograph=False),
        "ours, none": lambda: ours.execute(steps - 1, keys=keys[0]),
        "ours, all": lambda: ours.trajectory(steps, keys=keys[0]),
        "ours, two batches": lambda: halves.trajectories(steps, keys, record),
        "ours, two batches, all": lambda: halves.trajectories(steps, keys),
    }


def sizes_of(users: int, docs: int, steps: int) -> dict[str, int]:
    """The reference work at another size."""
    return {**BASE, "U": users, "D": docs, "T": steps}


# What runs in a process of its own: prints one JSON object.


def job_warm(users: int, docs: int, steps: int) -> dict[str, float]:
    """Warm times of one row."""
    sizes = sizes_of(users, docs, steps)
    seconds = medians({implementation: train_step(implementation, sizes) for implementation in ("ours", "upstream")})
    return {
        **{f"train, {implementation}": seconds[implementation] for implementation in seconds},
        **medians(rollouts(sizes)),
    }


def job_first(implementation: str, users: int, docs: int, steps: int) -> dict[str, float]:
    """First training step, network included; peak memory after three more."""
    facade(implementation)
    started = time.perf_counter()
    step = train_step(implementation, sizes_of(users, docs, steps))
    step()
    first = time.perf_counter() - started
    for _ in range(3):
        step()
    return {"first": first, "peak": peak_gigabytes()}


def job_base() -> dict[str, float]:
    """Memory of TensorFlow and TFP alone."""
    import tensorflow as tf
    import tensorflow_probability  # noqa: F401

    tf.zeros(())
    return {"peak": peak_gigabytes()}


def job_scale(name: str, value: int) -> dict[str, float]:
    """Training step of both at one size."""
    sizes = {**BASE, name: value}
    implementations = ["ours", "upstream"] if sizes["S"] == BASE["S"] else ["ours"]
    return medians({implementation: train_step(implementation, sizes) for implementation in implementations}, repeats=5)


def learner_of(sizes: dict[str, int], num_shards: int) -> tuple[Any, Any]:
    """The project's own learner with SGD and upstream's model, and keys for its shards."""
    import tensorflow as tf

    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation.runtime import SeededRuntime
    from recsys_po_rl.training.learner import PolicyGradientLearner

    facade("ours")
    from recsys_po_rl import simulation_config

    network = simulation_config.create_interest_evolution_simulation_network(
        num_users=sizes["U"] // num_shards, num_docs=sizes["D"], num_topics=sizes["K"], corpus_seed=0
    )
    learner = PolicyGradientLearner(
        network, sizes["T"], tf.keras.optimizers.SGD, runtime_ctor=functools.partial(SeededRuntime, mode="xla")
    )
    return learner, [seeding.make_keys(0, "benchmark", batch=shard) for shard in range(num_shards)]


def job_trainer(users: int, docs: int, steps: int) -> dict[str, Any]:
    """The learner's step in two shards; whoever starts this decides on how many cores."""
    import numpy as np
    import tensorflow as tf

    tf.keras.utils.set_random_seed(0)
    learner, keys = learner_of(sizes_of(users, docs, steps), 2)
    first = [float(number) for number in learner.step(keys)]
    seconds = medians({"step": lambda: learner.step(keys)})
    weights = float(np.sum([np.abs(weight.numpy()).sum() for weight in learner.trainable_variables]))
    return {**seconds, "numbers": [*first, weights]}


def job_parts(users: int, docs: int, steps: int) -> dict[str, float]:
    """Measure the parts of a learner's step: networks without some part, on one core's worth of users."""
    import tensorflow as tf

    from recsys_po_rl import fields, simulation_config
    from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
    from recsys_po_rl.recommender import CollabFilteringRecommender
    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation.runtime import SeededRuntime

    class Unsampled(CollabFilteringRecommender):
        """Scores, then shows the same places to everyone: a draw is left out."""

        def slate_ranks(self, previous_state: Any, user_obs: Any, available_docs: Any) -> Any:
            undrawn = tf.zeros((self._num_users, self._slate_size), tf.int32)
            logits = self.slate_distribution(previous_state, available_docs).nan_witness(undrawn)
            place = tf.cast(tf.clip_by_value(logits, 0.0, 1.0), tf.int32)
            return tf.stack([place, place + 2], axis=1)

    sizes = sizes_of(users, docs, steps)

    def rollout(recommender_ctor: Any) -> Callable[[], Any]:
        network = simulation_config.create_interest_evolution_simulation_network(
            num_users=users, num_docs=docs, num_topics=sizes["K"], corpus_seed=0, recommender_ctor=recommender_ctor
        )
        runtime = SeededRuntime(network.variables, mode="xla")
        record = {fields.METRICS_STATE: [fields.REWARD]}
        return lambda: runtime.trajectory(steps, keys=seeding.make_keys(0), record=record)

    fixed = functools.partial(FixedSlateRecommender, doc_ids=[1, 2])
    learner, keys = learner_of(sizes, 1)
    of_rollout = tf.function(lambda keys_of_shard: learner.rollout(keys_of_shard), autograph=False)
    rolled = of_rollout(keys[0])
    advantages = tf.random.normal((steps, users))
    gradient = tf.function(lambda: learner.gradients([rolled], [advantages]), autograph=False)
    return medians(
        {
            "fixed slate": rollout(fixed),
            "scores, no draw": rollout(Unsampled),
            "rollout": rollout(CollabFilteringRecommender),
            "gradient": gradient,
            "step": lambda: learner.step(keys),
        }
    )


def job_million(users: int, docs: int, steps: int) -> dict[str, float]:
    """Evaluation of a large population."""
    import tqdm

    from recsys_po_rl import simulation_config
    from recsys_po_rl.evaluation import evaluator
    from recsys_po_rl.simulation.runtime import SeededRuntime

    batch = 1000
    network = simulation_config.create_interest_evolution_simulation_network(
        num_users=batch, num_docs=docs, num_topics=2, corpus_seed=0
    )
    started = time.perf_counter()
    with tqdm.tqdm(total=users, unit="users", mininterval=10) as bar:
        outcome = evaluator.evaluate(
            SeededRuntime(network.variables, mode="xla"), steps, users, batch, seed=0,
            on_progress=lambda done: bar.update(done - bar.n),
        )  # fmt: skip
    return {"seconds": time.perf_counter() - started, "peak": peak_gigabytes(), "mean": float(outcome.total.mean())}


def job_import(module: str) -> dict[str, float]:
    """Importing in a fresh process; of "tensorflow_probability", with what it and TensorFlow load lazily."""
    import importlib

    def load() -> None:
        if module == "tensorflow_probability":
            _ = importlib.import_module("tensorflow").keras.Model
            _ = importlib.import_module(module).distributions
        else:
            importlib.import_module(module)

    return {"seconds": seconds(load)}


def job_environment(num_envs: int) -> dict[str, float]:
    """User-steps per second of the Gymnasium environment."""
    import gymnasium_steps

    return {"user_steps": gymnasium_steps.ours(num_envs)}


JOBS = {name[4:]: job for name, job in globals().items() if name.startswith("job_")}


FINISHED: dict[str, dict[str, Any]] = {}
FINISHED_FILE: list[pathlib.Path] = []


def run(job: str, *arguments: Any, cores: str = "") -> dict[str, Any]:
    """Runs a job in a fresh process, unless the file of finished jobs has it."""
    key = json.dumps([job, *arguments, cores])
    if key in FINISHED:
        return FINISHED[key]
    command = [sys.executable, str(HERE / "speed.py"), "--job", json.dumps([job, *arguments])]
    if cores:
        command = ["taskset", "-c", cores, *command]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore", "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{job} {arguments} failed:\n{done.stderr[-2000:]}")
    print(job, *arguments, cores, done.stdout.splitlines()[-1], flush=True)
    FINISHED[key] = json.loads(done.stdout.splitlines()[-1])
    if FINISHED_FILE:
        FINISHED_FILE[0].write_text(json.dumps(FINISHED), encoding="utf-8")
    return FINISHED[key]


def report(quick: bool, peers_python: str) -> str:
    """Runs everything; the text of RESULTS.md."""
    import importlib.metadata

    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("tensorflow", "tensorflow-probability", "recsim-ng", "numpy")
    )
    lines = [
        "# Speed and memory beside recsim_ng's own application",
        "",
        "Made by `python benchmarks/speed.py`. Work is users x documents x steps; K=2 topics, slates of 2, 15",
        "remembered documents. Warm calls: one process, in turn, medians of 7. First calls and peaks: fresh processes.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}.",
        "",
        "## Training step through the facade",
        "",
        "| work | ours (s) | upstream (s) | ratio | bar | first step, ours (s) | upstream (s) | bar "
        "| peak, ours (GB) | upstream (GB) | bar |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    warm = {}
    for work in TABLE:
        warm[work] = run("warm", *work)
        first = {implementation: run("first", implementation, *work) for implementation in ("ours", "upstream")}
        bar = BARS[work]
        ours, theirs = warm[work]["train, ours"], warm[work]["train, upstream"]
        lines.append(
            f"| {' x '.join(map(str, work))} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} | {bar[0]} "
            f"| {first['ours']['first']:.1f} | {first['upstream']['first']:.1f} | {bar[2] or ''} "
            f"| {first['ours']['peak']:.2f} | {first['upstream']['peak']:.2f} | {bar[3]} |"
        )
    lines += [
        "",
        f"TensorFlow and TFP alone: {run('base')['peak']:.2f} GB.",
        "",
        "## Rollouts of the bare network",
        "",
        "Ours as one batch of all users, and as two batches of half the users, side by side (the way populations run).",
        "",
        "| work | one batch: nothing recorded (s) | all fields (s) | two batches: rewards (s) | all fields (s) "
        "| upstream: nothing (s) | all (s) | ratio of one batch: nothing | all | of two batches: rewards | all |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for work, seconds in warm.items():
        ours = [seconds[f"ours, {kind}"] for kind in ("none", "all", "two batches", "two batches, all")]
        theirs = [seconds["upstream, none"], seconds["upstream, all"]]
        ratios = [theirs[place % 2] / our for place, our in enumerate(ours)]
        cells = [f"{value:.3f}" for value in (*ours, *theirs)] + [f"{ratio:.1f}" for ratio in ratios]
        lines.append(f"| {' x '.join(map(str, work))} | {' | '.join(cells)} |")
    work = TABLE[0]
    one_core, two_cores = run("trainer", *work, cores="0"), run("trainer", *work)
    lines += [
        "",
        "## The second core",
        "",
        f"The project's own learner, {' x '.join(map(str, work))} in two shards: {one_core['step']:.3f} s on one core, "
        f"{two_cores['step']:.3f} s on two, {one_core['step'] / two_cores['step']:.2f} times as fast. "
        "Diagnostics of the first step "
        f"and sum of absolute weights after {REPEATS + 2} steps on one core: {applicable(one_core['numbers'])}; "
        f"on two: {applicable(two_cores['numbers'])}.",
    ]
    parts = run("parts", *work)
    user_steps = work[0] * work[2]
    lines += [
        "",
        f"## Where a step's time goes ({' x '.join(map(str, work))}, one shard)",
        "",
        "| part | s | ns per user-step |",
        "|---|---|---|",
    ]
    shares = {
        "users, histories, metrics (fixed slate)": parts["fixed slate"],
        "scores": parts["scores, no draw"] - parts["fixed slate"],
        "drawing slates": parts["rollout"] - parts["scores, no draw"],
        "log-probabilities and gradient (both cores)": parts["gradient"],
        "update and the rest": parts["step"] - parts["rollout"] - parts["gradient"],
        "whole step": parts["step"],
    }
    lines += [f"| {name} | {part:.4f} | {part / user_steps * 1e9:.0f} |" for name, part in shares.items()]
    per_core = user_steps / two_cores["step"] / 2
    lines += ["", f"Throughput: {per_core:,.0f} user-steps per second and core in two shards."]
    imports = [run("import", name)["seconds"] for name in ("tensorflow_probability", "recsys_po_rl")]
    # As pip's wrapper of the console script runs it.
    console_script = "import sys, recsys_po_rl_cli; sys.exit(recsys_po_rl_cli.main())"
    help_seconds = seconds(
        lambda: subprocess.run(
            [sys.executable, "-c", console_script, "--help"], stdout=subprocess.DEVNULL, check=True, cwd=HERE.parent
        )
    )
    lines += [
        "",
        f"`import recsys_po_rl`: {imports[1]:.1f} s; TensorFlow and TFP alone: {imports[0]:.1f} s. "
        f"`recsys-po-rl --help`: {help_seconds:.2f} s.",
    ]
    import gymnasium_steps

    lines += [
        "",
        "## Steps of environments",
        "",
        "World of the default experiment; actions are sampled in the loop. More sizes and what peers are like:",
        "[GYMNASIUM.md](results/GYMNASIUM.md).",
        "",
        "| environment | user-steps per second |",
        "|---|---|",
        f"| ours, 1000 users (bar 500,000) | {run('environment', 1000)['user_steps']:,.0f} |",
        *gymnasium_steps.peers(peers_python),
    ]
    if not quick:
        lines += scaling()
        million = run("million", 1_000_000, 1000, 100)
        lines += [
            "",
            "## A large population",
            "",
            f"1 000 000 users x 1000 documents x 100 steps, in batches of 1000: {million['seconds'] / 60:.1f} "
            f"minutes, peak {million['peak']:.2f} GB.",
        ]
    return "\n".join(lines) + "\n"


def applicable(numbers: list[float]) -> list[float]:
    """Without those that a learner without a critic or a clipped ratio does not have."""
    return [number for number in numbers if not math.isnan(number)]


def scaling() -> list[str]:
    """Return a table of the training step over sizes, and draw scaling.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = ["", "## Growth of the training step", "", f"Around {BASE}; ours / upstream (s)."]
    lines += ["", "| | | | |", "|---|---|---|---|"]
    base = run("scale", "U", BASE["U"])
    figure, axes = pyplot.subplots(2, 3, figsize=(10, 6), layout="constrained")
    for axis, (name, values) in zip(axes.flat, SCALES.items()):
        measured = [base if value == BASE[name] else run("scale", name, value) for value in values]
        cells = [
            f"{name}={value}: {seconds['ours']:.3f}"
            + (f" / {seconds['upstream']:.3f}" if "upstream" in seconds else "")
            for value, seconds in zip(values, measured)
        ]
        lines.append(f"| {' | '.join([name, *cells])} |")
        for implementation, style in (("ours", "o-"), ("upstream", "s--")):
            points = [
                (value, seconds[implementation])
                for value, seconds in zip(values, measured)
                if implementation in seconds
            ]
            axis.loglog(*zip(*points), style, label=implementation)
        axis.set_xticks(values, [str(value) for value in values])
        axis.tick_params(axis="x", which="minor", length=0, labelbottom=False)
        axis.set_xlabel(name)
        axis.set_ylabel("s per training step")
    axes.flat[0].legend()
    figure.savefig(HERE / "scaling.png", dpi=110)
    return [*lines, "", "![growth](scaling.png)"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without scaling and the large population")
    parser.add_argument("--finished", type=pathlib.Path, help="file of finished jobs, to go on after an interruption")
    parser.add_argument("--peers_python", default=sys.executable, help="Python that has sardine-rec")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job, *rest = json.loads(arguments.job)
        print(json.dumps(JOBS[job](*rest)))
        return
    if arguments.finished:
        FINISHED_FILE.append(arguments.finished)
        if arguments.finished.exists():
            FINISHED.update(json.loads(arguments.finished.read_text(encoding="utf-8")))
    text = report(arguments.quick, arguments.peers_python)
    notes = HERE / "NOTES.md"
    if notes.exists():
        text += "\n" + notes.read_text(encoding="utf-8")
    (HERE / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
