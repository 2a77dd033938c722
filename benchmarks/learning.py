"""Learning results with intervals: runs the studies behind docs/LEARNING.md, and writes the page from their results.

    python benchmarks/learning.py run              # every study that has no result yet; about two hours on two cores
    python benchmarks/learning.py run default k2   # some of them
    python benchmarks/learning.py page             # docs/LEARNING.md and its figures, from benchmarks/results alone

A study is an experiment of configs/experiments/ with bindings. Its run folder goes to runs/learning/NAME; what the page
needs of it is copied to benchmarks/results/learning/NAME.
"""

import functools
import json
import pathlib
import shutil
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "learning"
KEPT = ROOT / "benchmarks" / "results" / "learning"
EVERY_STEPS = 10  # of the training, in the curves that are kept

ENTRY = "recsys_po_rl.experiment"
FEW = f"{ENTRY}.policies = [@recsys_po_rl.uniform_random]"
GAP = (
    f"{ENTRY}.policies = [@recsys_po_rl.uniform_random, @recsys_po_rl.best_fixed_slate, "
    "@recsys_po_rl.full_information_reference]"
)
SEEING = FEW.replace("]", ", @recsys_po_rl.learned_full_information]")
BELIEF = GAP.replace("]", ", @recsys_po_rl.belief_reference]")
TWO = f"{ENTRY}.seeds = [0, 1]"
THREE = f"{ENTRY}.seeds = [0, 1, 2]"
UNTRAINED = FEW.replace(
    "]",
    ", @recsys_po_rl.popular_by_clicks, @recsys_po_rl.popular_by_time, @recsys_po_rl.best_fixed_topic, "
    "@recsys_po_rl.myopic_full_information, @recsys_po_rl.tuned_full_information]",
)
TOPICS = "recsys_po_rl.create_interest_evolution_simulation_network.num_topics = {}"
DIAL = FEW.replace(
    "]",
    ", @recsys_po_rl.learned_clicks, @recsys_po_rl.learned_slates, @recsys_po_rl.learned_step, "
    "@recsys_po_rl.learned_interest, @recsys_po_rl.learned_full_information]",
)
CLICKS = "recsys_po_rl.AveragedHistoryModel.memory = ()"
HALF = f"{ENTRY}.num_training_steps = 150"
LAMBDA = "recsys_po_rl.PolicyGradientLearner.trace_decay = 0.95"
ENTROPY = "recsys_po_rl.PolicyGradientLearner.entropy_bonus = 0.005"
TIMED = "time"  # the default of 0.1.0 on one seed; run it alone on the machine: its timings are kept


class Study(NamedTuple):
    """One experiment and its bindings."""

    experiment: str  # under configs/experiments/
    bindings: tuple[str, ...]


STUDIES = {
    "default": Study("default.gin", ()),
    # Of 0.1.0's default and what was derived from it: recommenders that remember clicks only.
    "v0_1": Study("v0_1.gin", (THREE,)),
    TIMED: Study("v0_1.gin", ()),
    "unseen": Study("v0_1.gin", (f"{ENTRY}.seeds = [100, 101, 102, 103, 104]", GAP)),
    "training_seeds": Study("v0_1.gin", (f"{ENTRY}.seeds = [0, 1, 2, 3, 4]", f"{ENTRY}.corpus_seed = 0", FEW)),
    "headline": Study("headline.gin", (THREE, GAP, CLICKS)),
    "k2": Study("k2.gin", (THREE, BELIEF, CLICKS)),
    "k20": Study("k20.gin", (TWO, GAP, CLICKS)),
    # The dial of observability; training seeds on one corpus tell its steps from the luck of a training.
    "dial": Study("dial.gin", ()),
    "dial_k2": Study("dial.gin", (TWO, TOPICS.format(2))),
    "dial_k20": Study("dial.gin", (TWO, TOPICS.format(20))),
    "dial_unseen": Study("dial.gin", (f"{ENTRY}.seeds = [100, 101, 102, 103, 104]", DIAL)),
    "dial_training_seeds": Study("dial.gin", (THREE, f"{ENTRY}.corpus_seed = 0", DIAL)),
    # Optimisation apart from information: the same trainings from a policy that imitates the planner.
    "warm_start": Study("warm_start.gin", (SEEING,)),
    # What needs no training, on the users of the studies above.
    **{
        f"{world}_baselines": Study(f"{world}.gin", (seeds, UNTRAINED, f"{ENTRY}.num_training_steps = 0"))
        for world, seeds in (("k2", THREE), ("k20", TWO))
    },
    "upstream_rule": Study("upstream_rule.gin", (THREE, FEW)),
    "upstream_rule_seeds": Study(
        "upstream_rule.gin", (f"{ENTRY}.seeds = [10, 11, 12, 13]", f"{ENTRY}.corpus_seed = 0", FEW)
    ),
    "gradient_variance": Study(
        "v0_1.gin", (FEW, f"{ENTRY}.num_training_steps = 100", f"{ENTRY}.gradient_variance_every_steps = 20")
    ),
    # Tried on corpus 1, where least of the gap is closed.
    **{
        f"tried_{name}": Study("v0_1.gin", (f"{ENTRY}.seeds = [1]", FEW, *bindings))
        for name, bindings in {
            "600_steps": (f"{ENTRY}.num_training_steps = 600",),
            "2000_users_a_step": (f"{ENTRY}.users_per_step = 2000",),
            "critic_of_256_units": ("recsys_po_rl.LearnedValue.hidden_units = 256",),
            "lambda_0.95": (LAMBDA,),
            "lambda_0.95_entropy_bonus_0.005": (LAMBDA, ENTROPY),
            "lambda_0.95_entropy_bonus_0.005_600_steps": (LAMBDA, ENTROPY, f"{ENTRY}.num_training_steps = 600"),
            "lambda_0.95_entropy_bonus_0.005_600_steps_4e-3": (
                LAMBDA,
                ENTROPY,
                f"{ENTRY}.num_training_steps = 600",
                "tf.keras.optimizers.Adam.learning_rate = 4e-3",
            ),
            "lambda_0.95_entropy_bonus_0.03": (
                LAMBDA,
                "recsys_po_rl.PolicyGradientLearner.entropy_bonus = 0.03",
            ),
            "lambda_0.95_2000_users_a_step": (LAMBDA, f"{ENTRY}.users_per_step = 2000"),
            "lambda_0.95_critic_of_256_units": (LAMBDA, "recsys_po_rl.LearnedValue.hidden_units = 256"),
        }.items()
    },
    # Half the default's schedule, and so is what they are compared with.
    "ablation_none": Study("v0_1.gin", (THREE, FEW, HALF)),
    **{
        f"ablation_{path.stem}": Study(f"ablations/{path.name}", (THREE, FEW, HALF, CLICKS))
        for path in sorted((ROOT / "configs" / "experiments" / "ablations").glob("*.gin"))
    },
}
# Policies of other studies on users of a seed with which nothing was chosen.
FRESH_USERS = {"v0_1_fresh_users": "v0_1", "headline_fresh_users": "headline"}
FRESH_SEED = 1000
BLIND = FEW.replace(
    "]",
    ", @recsys_po_rl.popular_by_clicks, @recsys_po_rl.popular_by_time, @recsys_po_rl.best_fixed_topic, "
    "@recsys_po_rl.best_fixed_slate, @recsys_po_rl.full_information_reference]",
)
UPSTREAM_CODE = "upstream_code"  # the one study that is not an experiment of ours
UPSTREAM_SEEDS, UPSTREAM_STEPS, UPSTREAM_USERS, UPSTREAM_RATE, HORIZON = (0, 1, 2), 100, 1000, 1e-4, 100


# Studies whose policies are compared user by user with those of another study, if that was run here before.
PAIRED_WITH = {"default": "v0_1", "warm_start": "default"}


def run_study(name: str) -> None:
    """Runs a study and keeps its results."""
    study = STUDIES[name]
    command = [sys.executable, "run_simulation.py", "--gin_files", f"experiments/{study.experiment}"]
    for binding in study.bindings:
        command += ["--gin_bindings", binding]
    subprocess.run([*command, "--output_dir", str(RUNS / name)], cwd=ROOT, check=True)
    keep(name, RUNS / name)
    other = RUNS / PAIRED_WITH.get(name, name)
    if name in PAIRED_WITH and other.exists():
        (KEPT / name / "paired.json").write_text(json.dumps(paired(RUNS / name, other), indent=2) + "\n")


def paired(run: pathlib.Path, other: pathlib.Path) -> dict[str, dict[str, dict]]:
    """Returns by seed and policy the mean difference of a run's users to those of another run, with its interval."""
    from recsys_po_rl.evaluation import statistics
    from recsys_po_rl.run_folder import per_user

    differences: dict[str, dict[str, dict]] = {}
    for folder in sorted(run.glob("seed_*")) or [run]:
        seed = json.loads((folder / "evaluation.json").read_text())["seed"]
        same = other / f"seed_{seed}" if (other / f"seed_{seed}").exists() else other
        if json.loads((same / "evaluation.json").read_text())["seed"] != seed:
            raise ValueError(f"{folder} and {same} have different users")
        ours, theirs = per_user.load(str(folder)), per_user.load(str(same))
        differences[f"seed_{seed}"] = {}
        for policy in sorted(set(ours) & set(theirs)):
            difference = statistics.paired_difference(ours[policy], theirs[policy])
            differences[f"seed_{seed}"][policy] = {"mean": difference.mean, "interval95": difference.bounds}
    return differences


def run_on_fresh_users(name: str) -> None:
    """Evaluates a study's policies on other users of the same corpora, and keeps the result."""
    command = [sys.executable, "run_simulation.py", "--mode", "evaluate", str(RUNS / FRESH_USERS[name])]
    for binding in (f"{ENTRY}.seeds = [{FRESH_SEED}]", BLIND):
        command += ["--gin_bindings", binding]
    subprocess.run([*command, "--output_dir", str(RUNS / name)], cwd=ROOT, check=True)
    (KEPT / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(RUNS / name / "evaluation.json", KEPT / name)


def keep(name: str, run: pathlib.Path) -> None:
    """Copies what the page needs of a run folder to benchmarks/results/learning/NAME."""
    folder = KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "evaluation.json", folder)
    seed_folders = sorted(run.glob("seed_*")) or [run]
    shutil.copy(seed_folders[0] / "operative_config.gin", folder)
    if (seed_folders[0] / "gradient_variance.csv").exists():
        shutil.copy(seed_folders[0] / "gradient_variance.csv", folder)
    if name == TIMED:
        shutil.copy(seed_folders[0] / "timings.json", folder)
    environment = json.loads((run / "environment.json").read_text())
    (folder / "versions.json").write_text(json.dumps(environment["versions"], indent=2) + "\n")
    if not (run / "metrics.csv").read_text():
        return  # nothing was trained
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    step = header.split(",").index("step")
    thinned = [row for row in rows if int(row.split(",")[step]) % EVERY_STEPS == 0]
    (folder / "curves.csv").write_text("\n".join([header, *thinned]) + "\n")


def run_upstream_code() -> None:
    """Trains with recsim_ng's own entities, model, runtime and training step; evaluates on the default's users.

    Upstream draws its corpora from a state that cannot be seeded alone, so its network is wired here, from its own
    entities, over the documents of the project's corpora.
    """
    from recsys_po_rl import corpus, fields  # isort: skip  (first: it makes the others importable)
    import tensorflow as tf
    from recsim_ng.applications.recsys_partially_observable_rl import (
        corpus as upstream_corpus,
    )
    from recsim_ng.applications.recsys_partially_observable_rl import (
        interest_evolution_simulation as upstream,
    )
    from recsim_ng.applications.recsys_partially_observable_rl import (
        metrics as upstream_metrics,
    )
    from recsim_ng.applications.recsys_partially_observable_rl import (
        recommender as upstream_recommender,
    )
    from recsim_ng.applications.recsys_partially_observable_rl import (
        user as upstream_user,
    )
    from recsim_ng.core.value import Value
    from recsim_ng.lib.tensorflow import entity
    from recsim_ng.stories import recommendation_simulation

    from recsys_po_rl.evaluation import evaluator, statistics
    from recsys_po_rl.recommender import CollabFilteringModel, CollabFilteringRecommender
    from recsys_po_rl.simulation.runtime import SeededRuntime
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

    config = {"num_topics": 10, "num_docs": 100, "slate_size": 2, "history_length": 15}
    results = []
    for seed in UPSTREAM_SEEDS:
        tf.keras.utils.set_random_seed(seed)
        sizes = {**config, "num_users": UPSTREAM_USERS}
        documents = corpus.ReferenceCorpus({**sizes, "corpus_seed": seed}).initial_state()
        state = Value(**{name: tf.convert_to_tensor(documents.get(name)) for name in fields.DOC_FIELDS})

        def story(sizes: dict = sizes, state: Value = state) -> list:
            return recommendation_simulation.recs_story(
                sizes,
                upstream_user.InterestEvolutionUser,
                lambda given: upstream_corpus.StaticCorpus(given, state),
                upstream_recommender.CollabFilteringRecommender,
                upstream_metrics.ConsumedTimeAsRewardMetrics,
            )

        variables, trainable = entity.story_with_trainable_variables(story)
        weights = trainable["Recommender"]
        step = upstream.make_train_step(
            upstream.make_runtime(variables),
            HORIZON,
            UPSTREAM_USERS,
            weights,
            "cumulative_reward",
            upstream.reset_optimizer(UPSTREAM_RATE),
        )
        curve = [float(step()[2]) for _ in range(UPSTREAM_STEPS)]
        ours = create_interest_evolution_simulation_network(
            num_users=500,
            corpus_seed=seed,
            corpus_ctor=corpus.ReferenceCorpus,
            recommender_ctor=lambda given: CollabFilteringRecommender(given, CollabFilteringModel),
            **config,
        )
        for target, source in zip(ours.trainable_variables, weights, strict=True):  # both in tf.Module's order
            target.assign(source)
        outcome = evaluator.evaluate(
            SeededRuntime(ours.variables, mode="xla"), HORIZON, 2000, 500, seed, behaviour=False
        )
        total = statistics.mean_interval(outcome.total)
        results.append(
            {
                "seed": seed,
                "mean": total.mean,
                "interval95": total.bounds,
                "mean_upstream_count": float(outcome.upstream_total.mean()),
                "num_users": total.num_units,
                "curve": curve[::EVERY_STEPS],
            }
        )
        print(f"upstream's code, seed {seed}: {total.mean:.2f}", flush=True)
    folder = KEPT / UPSTREAM_CODE
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"steps": UPSTREAM_STEPS, "users": UPSTREAM_USERS, "learning_rate": UPSTREAM_RATE, "horizon": HORIZON}
    (folder / "evaluation.json").write_text(json.dumps({"settings": settings, "per_seed": results}, indent=2) + "\n")


def main(arguments: list[str]) -> int:
    """Runs studies or writes the page; returns the exit status."""
    special = {UPSTREAM_CODE: run_upstream_code}
    special |= {name: functools.partial(run_on_fresh_users, name) for name in FRESH_USERS}
    known = [*STUDIES, *special]
    if arguments[:1] == ["page"] and len(arguments) == 1:
        import learning_page

        learning_page.write()
        return 0
    unknown = [name for name in arguments[1:] if name not in known]
    if arguments[:1] != ["run"] or unknown:
        print(f"usage: learning.py run [NAME...] | page; names: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in arguments[1:] or known:
        if arguments[1:] or not (KEPT / name / "evaluation.json").exists():
            special.get(name, functools.partial(run_study, name))()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
