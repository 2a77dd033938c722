"""Writes benchmarks/results/TABLE_CORPUS.md: time and memory of a training step over tables of many documents.

PYTHONPATH=. python benchmarks/table_corpus.py
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

PAGE = pathlib.Path(__file__).resolve().parent / "results" / "TABLE_CORPUS.md"
# Documents, and users in a shard: scores have one number for each user and document.
SIZES = ((100, 60), (1_000, 60), (10_000, 15), (100_000, 4))
NUM_SHARDS = 4
HORIZON = 100
NUM_FEATURES = 10
WARM_STEPS = 3


def write_table(path: str, num_docs: int) -> None:
    """Write a table of random documents with text ids, named topics and features."""
    random = np.random.default_rng(0)
    features = random.normal(size=(num_docs, NUM_FEATURES)).round(4)
    quality, length = random.normal(size=num_docs).round(4), random.uniform(1.0, 3.0, num_docs).round(4)
    topics = random.integers(0, NUM_FEATURES, num_docs)
    with open(path, "w", encoding="utf-8") as file:
        names = ",".join(f"feature_{place}" for place in range(NUM_FEATURES))
        file.write(f"doc_id,topic,quality,length,{names}\n")
        for row in range(num_docs):
            numbers = ",".join(map(str, features[row]))
            file.write(f"film-{row:06},genre {topics[row]},{quality[row]},{length[row]},{numbers}\n")


def peak() -> float:
    """Return the peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(path: str, users_per_shard: int) -> dict[str, Any]:
    """Measure reading and training steps of the default experiment over a table."""
    from recsys_po_rl import gin_config
    from recsys_po_rl.catalogue_corpus import TableCorpus
    from recsys_po_rl.experiment import config as config_lib
    from recsys_po_rl.experiment import run, single_seed
    from recsys_po_rl.training import loop

    network = "recsys_po_rl.create_interest_evolution_simulation_network"
    gin_config.parse(
        ["experiments/default.gin"],
        [
            f"{network}.corpus_ctor = @recsys_po_rl.TableCorpus",
            f"{network}.num_docs = None",
            f"{network}.num_topics = None",
            f"recsys_po_rl.TableCorpus.path = {path!r}",
            f"recsys_po_rl.experiment.horizon = {HORIZON}",
            f"recsys_po_rl.experiment.num_shards = {NUM_SHARDS}",
            f"recsys_po_rl.experiment.users_per_step = {NUM_SHARDS * users_per_shard}",
            f"recsys_po_rl.experiment.evaluation_batch_size = {users_per_shard}",
            "recsys_po_rl.experiment.policies = []",
        ],
    )
    before = peak()
    started = time.perf_counter()
    TableCorpus({"num_docs": None, "num_topics": None})
    reading = time.perf_counter() - started
    config = config_lib.validated(**config_lib.bound(run.experiment))
    learner = single_seed.prepare(config, 0, 0).learner

    def step(number: int) -> float:
        started = time.perf_counter()
        float(learner.step(loop.keys_of_step(0, number, NUM_SHARDS, "training"), 0.0).mean_reward)
        return time.perf_counter() - started

    first = step(1)
    warm = [step(2 + number) for number in range(WARM_STEPS)]
    return {"reading": reading, "first": first, "warm": statistics.median(warm), "before": before, "peak": peak()}


def main() -> None:
    """Measure each size in a fresh process, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table")
    parser.add_argument("--users_per_shard", type=int)
    flags = parser.parse_args()
    if flags.table:
        print(json.dumps(measure(flags.table, flags.users_per_shard)))
        return
    import importlib.metadata

    rows = []
    for num_docs, users in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "films.csv")
            write_table(path, num_docs)
            command = [sys.executable, __file__, "--table", path, "--users_per_shard", str(users)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = json.loads(ran.stdout.splitlines()[-1])
            size = os.path.getsize(path) / 1e6
        rows.append(
            f"| {num_docs:,} | {size:.2f} | {NUM_SHARDS} x {users} | {measured['reading']:.2f} "
            f"| {measured['first']:.1f} | "
            f"{measured['warm']:.2f} | {1e6 * measured['warm'] / (NUM_SHARDS * users * HORIZON * num_docs):.4f} | "
            f"{measured['before']:.2f} | {measured['peak']:.2f} |"
        )
        print(rows[-1], flush=True)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "pyarrow", "numpy"))
    text = "\n".join(
        [
            "# Tables of many documents",
            "",
            "Written by `PYTHONPATH=. python benchmarks/table_corpus.py`: the default experiment's training step over",
            f"a CSV table with {NUM_FEATURES} feature columns, {HORIZON} slates of 2 to each user, each size in",
            f"a fresh process. Warm steps: median of {WARM_STEPS}.",
            "",
            f"Machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} during the run",
            "(above the number of cores, times are noisy: other work shared the machine); Python "
            f"{platform.python_version()}, {versions}.",
            "",
            "| documents | table (MB) | shards x users | reading (s) | first step (s) | warm step (s) "
            "| us per user-step and document | memory before (GB) | peak (GB) |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
