"""Cost of the scorer's checks of ids and times in a compiled rollout of 1000 users x 100 documents x 100 steps.

    python benchmarks/cost_of_checks.py

Both programs run in one process, in turn; medians. Writes benchmarks/COST_OF_CHECKS.md.
"""

import functools
import pathlib
import platform
import statistics
import time

from recsys_po_rl import corpus, fields, recommender
from recsys_po_rl.scoring import CollabFilteringModel
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

REPEATS = 41
USERS, STEPS = 1000, 100
LIMIT = 0.02


class Unchecked(CollabFilteringModel):
    """Scores whatever comes."""

    def call(self, doc_id_history, c_time_history=None, training=None, mask=None):
        """Scores all documents."""
        return self.score_histories(doc_id_history, c_time_history, training)


def rollout(model_ctor, mode):
    """A function that runs the rollout for a seed and waits for its result."""
    network = create_interest_evolution_simulation_network(
        num_users=USERS,
        num_topics=2,
        num_docs=100,
        corpus_seed=0,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(recommender.CollabFilteringRecommender, model_ctor=model_ctor),
    )
    runtime = SeededRuntime(network.variables, mode=mode)
    record = {fields.METRICS_STATE: [fields.REWARD]}

    def run(seed):
        keys = seeding.make_keys(seed)
        started = time.perf_counter()
        runtime.trajectory(STEPS, keys=keys, record=record)[fields.METRICS_STATE].get(fields.REWARD).numpy()
        return time.perf_counter() - started

    run(0)
    return run


def main():
    """Measures and writes the page."""
    rows = []
    for mode in ("xla", "graph"):
        runs = {"checked": rollout(CollabFilteringModel, mode), "unchecked": rollout(Unchecked, mode)}
        seconds = {name: [] for name in runs}
        for seed in range(1, REPEATS + 1):
            for name in sorted(runs, reverse=bool(seed % 2)):
                seconds[name].append(runs[name](seed))
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        # Paired in time: drifts of the machine cancel.
        ratio = statistics.median(a / b for a, b in zip(seconds["checked"], seconds["unchecked"])) - 1.0
        rows.append(f"| {mode} | {medians['checked']:.4f} | {medians['unchecked']:.4f} | {100 * ratio:+.1f}% |")
        print(rows[-1], flush=True)
    page = f"""# What the checks of ids and times cost

A compiled rollout of {USERS} users x 100 documents x {STEPS} steps, with the scorer's checks and without; seconds,
medians of {REPEATS} runs in turn, and the median of the ratios of neighbouring runs. Limit: {100 * LIMIT:.0f}%. Made by
`python benchmarks/cost_of_checks.py` on {platform.machine()}, Python {platform.python_version()}.

| mode | checked | unchecked | cost |
| --- | --- | --- | --- |
""" + "\n".join(rows)
    (pathlib.Path(__file__).parent / "COST_OF_CHECKS.md").write_text(page + "\n")


if __name__ == "__main__":
    main()
