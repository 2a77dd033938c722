"""The table of bad inputs: what is handed in, and what the one line about it must say.

Read by test_bad_inputs.py, which tries each, and by benchmarks/make_bad_inputs.py, which writes the page of results.
"""

import json
import pathlib
import shutil
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

P = "recsys_po_rl"
NETWORK = "create_interest_evolution_simulation_network"
TINY = ("--gin_files", "experiments/default.gin", "--gin_files", "overlays/tiny.gin")


class Bad(NamedTuple):
    """One bad input of the command line."""

    shown: str  # as the table has it
    says: str  # regular expression: what is wrong and what is allowed
    arguments: tuple[str, ...]  # without --output_dir


class Kind(NamedTuple):
    """Bounds of a number, and values outside of them."""

    says: str
    bad: tuple[str, ...]


def integer(least: int) -> Kind:
    """An integer of at least `least`."""
    return Kind(f"must be an integer of at least {least}, got ", ("'x'", str(least - 1), "2.5"))


def at_least(least: float) -> Kind:
    """A finite number of at least `least`."""
    return Kind(f"must be a finite number of at least {least:g}, got ", ("'x'", f"{least - 0.5}", "1e999"))


def above(bound: float) -> Kind:
    """A finite number above `bound`."""
    return Kind(f"must be a finite number above {bound:g}, got ", ("'x'", f"{bound}", "1e999"))


def at_most(most: float) -> Kind:
    """A finite number of at most `most`."""
    return Kind(f"must be a finite number of at most {most:g}, got ", ("'x'", f"{most + 0.5}", "-1e999"))


def between(least: float, most: float) -> Kind:
    """A finite number in a closed interval."""
    says = f"must be a finite number of at least {least:g} and of at most {most:g}, got "
    return Kind(says, ("'x'", f"{most + 0.5}", "1e999"))


def per_user(least: str = "") -> Kind:
    """A number, or one for each user."""
    return Kind(rf"must be (a number or \d+ numbers|finite.*{least}), got ", ("'x'", "[1.0, 2.0]", "1e999"))


ANY_NUMBER = Kind("must be a finite number, got ", ("'x'", "1e999", "[1.0]"))
BOOLEAN = Kind("must be True or False, got ", ("'yes'", "1"))
CONSTRUCTOR = Kind("must be a constructor", ("'x'", "3"))
SHARE = Kind("must be a finite number above 0 and of at most 1, got ", ("'x'", "0.0", "1.5"))
MEMORY = Kind("memory must be a list of 'slates' and 'step', each at most once; got ", ("'step'", "['x']", "3"))

# What has to be bound, too, so that a configurable takes part in a run.
WITH = {
    "GRUModel": ("CollabFilteringRecommender.model_ctor = @recsys_po_rl.GRUModel",),
    "SelfAttentionModel": ("CollabFilteringRecommender.model_ctor = @recsys_po_rl.SelfAttentionModel",),
    "CollabFilteringModel": ("CollabFilteringRecommender.model_ctor = @recsys_po_rl.CollabFilteringModel",),
    "CorpusWithTopicAndQuality": (f"{NETWORK}.corpus_ctor = @recsys_po_rl.CorpusWithTopicAndQuality",),
    "Distillation": ("experiment.warm_start_ctor = @recsys_po_rl.Distillation",),
    "FullInformationRecommender": ("experiment.policies = [@recsys_po_rl.learned_full_information]",),
    "InterestModel": ("experiment.policies = [@recsys_po_rl.learned_full_information]",),
    **{
        policy: (f"experiment.policies = [@recsys_po_rl.{policy}]",)
        for policy in (
            "belief_reference",
            "best_fixed_slate",
            "best_fixed_topic",
            "full_information_reference",
            "learned_full_information",
            "learned_slates_and_step",
            "lin_ucb",
            "popular_by_clicks",
            "rollout_reference",
            "popular_by_time",
            "sampled_by_popularity",
            "tuned_full_information",
        )
    },
}

PRETRAIN = ("--mode", "pretrain", "no_such_log.csv")
# Modes, where it is not the first one, that read a configurable.
SWEEP = ("--mode", "sweep")
MODE_OF = {"pretrain": PRETRAIN, "sweep": SWEEP, "FloatRange": SWEEP, "IntegerRange": SWEEP}
_ENTROPY, _HIDDEN = f"{P}.PolicyGradientLearner.entropy_bonus", f"{P}.LearnedValue.hidden_units"
_FLOATS = (f"sweep.space = {{'{_ENTROPY}': @{P}.FloatRange()}}", "FloatRange.low = 0.1", "FloatRange.high = 0.2")
_INTEGERS = (f"sweep.space = {{'{_HIDDEN}': @{P}.IntegerRange()}}", "IntegerRange.low = 8", "IntegerRange.high = 16")
WITH.update({"sweep": _FLOATS, "FloatRange": _FLOATS, "IntegerRange": _INTEGERS})

_PLANNERS = {
    "use_grid": BOOLEAN,
    "grid_points": integer(3),
    "num_iterations": integer(1),
    "users_per_iteration": integer(1),
    "hidden": integer(1),
}
# Every number and switch of every configurable that a run has, and what it may be.
NUMBERS: dict[str, dict[str, Kind]] = {
    "pretrain": {
        "seed": integer(0),
        "num_epochs": integer(1),
        "batch_size": integer(1),
        "optimizer": CONSTRUCTOR,
        "patience": integer(1),
        "validation_share": SHARE,
        "test_share": SHARE,
        "inverse_propensity": BOOLEAN,
        "max_weight": above(0),
        "max_invalid_share": between(0, 1),
        "columns_ctor": CONSTRUCTOR,
        "network_ctor": CONSTRUCTOR,
        "quiet": BOOLEAN,
    },
    "sweep": {
        "num_trials": integer(1),
        "num_trials_at_once": integer(1),
        "sampler_seed": integer(0),
        "num_startup_trials": integer(0),
        "percentile": between(0, 100),
        "num_warmup_steps": integer(0),
        "num_best": integer(0),
        "num_fresh_users": integer(2),
        "quiet": BOOLEAN,
        "resume": BOOLEAN,
    },
    "FloatRange": {"log": BOOLEAN},
    "IntegerRange": {"log": BOOLEAN},
    "lin_ucb": {"alpha": at_least(0.0), "ridge": above(0.0)},
    "experiment": {
        "num_training_steps": integer(0),
        "horizon": integer(1),
        "users_per_step": integer(1),
        "num_shards": integer(1),
        "num_evaluation_users": integer(2),
        "evaluation_batch_size": integer(1),
        "corpus_seed": integer(0),
        "checkpoint_every_steps": integer(1),
        "num_validation_users": integer(2),
        "validate_every_steps": integer(0),
        "gradient_variance_every_steps": integer(0),
        "num_processes": integer(1),
        "network_ctor": CONSTRUCTOR,
        "learner_ctor": CONSTRUCTOR,
        "runtime_ctor": CONSTRUCTOR,
        "alarms_ctor": CONSTRUCTOR,
        "quiet": BOOLEAN,
        "resume": BOOLEAN,
        "checkpoint_every_minutes": above(0),
    },
    NETWORK: {
        "num_topics": Kind(r"num_topics.* must be an integer of at least \d", ("'x'", "1", "2.5")),
        "num_docs": integer(1),
        "history_length": integer(1),
        "slate_size": integer(1),
        "freeze_corpus": BOOLEAN,
        "full_information": BOOLEAN,
        "user_ctor": CONSTRUCTOR,
        "corpus_ctor": CONSTRUCTOR,
        "recommender_ctor": CONSTRUCTOR,
        "metrics_ctor": CONSTRUCTOR,
        "story": CONSTRUCTOR,
    },
    "InterestEvolutionUser": {
        "no_click_mass": per_user(),
        "interest_step_size": per_user(),
        "interest_update_noise_scale": per_user("of at least 0"),
        "max_user_affinity": above(0),
        "affinity_offset": ANY_NUMBER,
        "timeout_steps": integer(1),
        "reset_users_if_timed_out": BOOLEAN,
        "affinity_model_ctor": CONSTRUCTOR,
        "choice_model_ctor": CONSTRUCTOR,
        "initial_interest_generator": Kind("initial_interest_generator must be", ("'x'", "3")),
    },
    "ReferenceCorpus": {
        "seed": Kind(r"seed.* must be an integer of at least 0", ("'x'", "-1", "2.5")),
        "video_length": at_least(0),
        "topic_min_utility": at_most(0),
        "topic_max_utility": at_least(0),
        "trashy_fraction": between(0, 1),
        "quality_stddev": at_least(0),
        "feature_stddev": at_least(0),
    },
    "CorpusWithTopicAndQuality": {
        "video_length": at_least(0),
        "topic_min_utility": at_most(0),
        "topic_max_utility": at_least(0),
        "trashy_fraction": between(0, 1),
        "quality_stddev": above(0),
        "feature_stddev": above(0),
    },
    "CollabFilteringRecommender": {"doc_embed_dim": integer(1), "greedy": BOOLEAN, "model_ctor": CONSTRUCTOR},
    "FullInformationRecommender": {
        "doc_embed_dim": integer(1),
        "greedy": BOOLEAN,
        "observes_step": BOOLEAN,
        "model_ctor": CONSTRUCTOR,
    },
    "AveragedHistoryModel": {
        "decays": Kind("decays", ("'x'", "[1.0]", "[-0.1]", "[1e999]", "0.5")),
        "proposal_stddev": above(0),
        "memory": MEMORY,
    },
    "CollabFilteringModel": {"proposal_stddev": above(0), "mask_null_documents": BOOLEAN},
    "GRUModel": {"units": integer(1), "proposal_stddev": above(0), "memory": MEMORY},
    "learned_slates_and_step": {
        "model_ctor": Kind(
            "must be a constructor|memory must be empty, as this scorer remembers clicks only",
            (
                "'x'",
                "3",
                "@recsys_po_rl.CollabFilteringModel",
            ),
        ),
    },
    "SelfAttentionModel": {
        "num_blocks": integer(1),
        "num_heads": integer(1),
        "dropout": Kind("dropout must be", ("'x'", "1.0", "-0.1", "1e999")),
        "proposal_stddev": above(0),
    },
    "InterestModel": {"hidden_units": integer(1), "proposal_stddev": above(0)},
    "SeededRuntime": {
        "policy_variables": Kind("policy_variables(: each)? must be", ("'x'", "3", "['x']")),
        "world_variables": Kind("world_variables(: each)? must be", ("'x'", "3", "['x']")),
    },
    "PolicyGradientLearner": {
        "discount": between(0, 1),
        "max_gradient_norm": above(0),
        "entropy_bonus": at_least(0),
        "trace_decay": between(0, 1),
        "whole_return": BOOLEAN,
        "normalize_advantages": BOOLEAN,
        "optimizer": CONSTRUCTOR,
        "algorithm": CONSTRUCTOR,
        "critic": CONSTRUCTOR,
        "population_baseline": CONSTRUCTOR,
        "learning_rate_schedule": CONSTRUCTOR,
        "entropy_schedule": CONSTRUCTOR,
    },
    "ProximalPolicyOptimization": {"num_epochs": integer(1), "num_minibatches": integer(1), "clip_range": above(0)},
    "LearnedValue": {
        "hidden_units": integer(1),
        "sees_interest": BOOLEAN,
        "max_gradient_norm": above(0),
        "optimizer": CONSTRUCTOR,
    },
    "Linear": {
        "end": at_least(0),
        "until": Kind("must be a finite number above 0 and of at most 1, got ", ("'x'", "0.0", "1.5")),
    },
    "Alarms": {
        "stop_on": Kind("stop_on", ("'entropy_low'", "3", "['entropi_low']")),
        "gradient_norm_factor": above(1),
        "gradient_norm_window": integer(10),
        "min_entropy": at_least(0),
        "reward_drop": at_least(0),
        "reward_window": integer(1),
    },
    "Distillation": {"num_rounds": integer(1), "updates_per_round": integer(1)},
    "rollout_reference": {
        "num_candidates": integer(2),
        "num_futures": integer(2),
        "min_standard_errors": at_least(0.0),
    },
    "popular_by_clicks": {"num_log_users": integer(1)},
    "popular_by_time": {"num_log_users": integer(1)},
    "sampled_by_popularity": {"num_log_users": integer(1), "power": between(0, 100)},
    "best_fixed_topic": {"num_search_users": integer(1)},
    "best_fixed_slate": {
        "rounds": Kind("rounds", ("'x'", "[]", "3", "[5]", "[(1, 2, 3)]", "[(0, 1)]", "[(5, 2.5)]")),
    },
    "tuned_full_information": {
        "num_search_users": integer(1),
        "coefficients": Kind("coefficients", ("'x'", "[]", "3", "['x']", "[1e999]")),
    },
    "full_information_reference": _PLANNERS,
    "belief_reference": {**_PLANNERS, "num_particles": integer(1), "shrinkage": between(0, 1)},
    "learned_full_information": {"recommender_ctor": CONSTRUCTOR},
}


def binding(shown: str, says: str, *more: str, mode: tuple[str, ...] = ()) -> Bad:
    """A bad gin binding; `more` are good ones that it needs, `mode` the mode that reads it, by default the first."""
    flags = [part for one in (*more, shown) for part in ("--gin_bindings", one)]
    return Bad(" ".join([*mode, *more, shown]), says, (*mode, *TINY, *flags))


def numbers() -> list[Bad]:
    """Each bad value of each of NUMBERS."""
    found = []
    for configurable, parameters in NUMBERS.items():
        more = [f"{P}.{one}" for one in WITH.get(configurable, ())]
        for parameter, kind in parameters.items():
            for value in kind.bad:
                full = f"{P}.{configurable}.{parameter} = {value}"
                says = kind.says if parameter in kind.says else f"{parameter} {kind.says}"
                found.append(binding(full, says, *more, mode=MODE_OF.get(configurable, ())))
    return found


FLAGS = [
    Bad("--no_such_flag", "unrecognized arguments: --no_such_flag", ("--no_such_flag",)),
    Bad("--gin_file x.gin", "unrecognized arguments: --gin_file", ("--gin_file", "x.gin")),  # no abbreviations
    Bad("--gin_files", "argument --gin_files: expected one argument", ("--gin_files",)),
    Bad("--gin_bindings", "argument --gin_bindings: expected one argument", ("--gin_bindings",)),
    Bad("--output_dir", "argument --output_dir: expected one argument", ("--output_dir",)),
    Bad("--mode", "argument --mode: expected one argument", ("--mode",)),
    Bad("--mode dance", "argument --mode: invalid choice: 'dance' .*train_and_evaluate", ("--mode", "dance")),
    Bad("--mode ''", "argument --mode: invalid choice: ''", ("--mode", "")),
    Bad("--resume=yes", "argument --resume: ignored explicit argument 'yes'", ("--resume=yes",)),
    Bad("--resume", "--resume needs --output_dir", ("--resume",)),
    Bad("runs/one", "--mode train_and_evaluate takes no run folder, got runs/one", ("runs/one",)),
    Bad("--mode evaluate", "--mode evaluate takes 1 run folder, got none", ("--mode", "evaluate")),
    Bad("--mode evaluate a b", "--mode evaluate takes 1 run folder, got a b", ("--mode", "evaluate", "a", "b")),
    Bad("--mode report", "--mode report takes 1 run folder or more, got none", ("--mode", "report")),
    Bad("--mode compare a", "--mode compare takes 2 run folders or more, got a", ("--mode", "compare", "a")),
    Bad("--mode compare a b --resume", "--mode compare takes no --resume", ("--mode", "compare", "a", "b", "--resume")),
    Bad("--unpaired", "--mode train_and_evaluate takes no --unpaired", ("--unpaired",)),
    Bad("--mode sweep", "--mode sweep needs a gin file that binds recsys_po_rl.sweep", ("--mode", "sweep")),
    Bad("--mode sweep a.gin b.gin", "takes at most 1 gin file, got a.gin b.gin", ("--mode", "sweep", "a.gin", "b.gin")),
    Bad(
        "--mode sweep no_such.gin", "no gin file 'no_such.gin' here or in configs/", ("--mode", "sweep", "no_such.gin")
    ),
    Bad("--mode sweep a.gin --dry_run", "--mode sweep takes no --dry_run", ("--mode", "sweep", "a.gin", "--dry_run")),
    Bad("--mode log", "--mode log takes 1 run folder, got none", ("--mode", "log")),
    Bad("--mode log a", "--mode log needs --users, an integer of at least 1, got none", ("--mode", "log", "a")),
    Bad("--mode log a --users 0", "--users, an integer of at least 1, got 0", ("--mode", "log", "a", "--users", "0")),
    Bad("--mode log a --users x", "--users: invalid int value: 'x'", ("--mode", "log", "a", "--users", "x")),
    Bad("--mode population a", "--mode population needs --users, an integer of at", ("--mode", "population", "a")),
    Bad(
        "--mode population a --users 5 --shards 3",
        "argument --shards: must be FIRST:END, such as 0:1000, got '3'",
        ("--mode", "population", "a", "--users", "5", "--shards", "3"),
    ),
    Bad(
        "--mode population no_such_run --users 5",
        "there is no run folder 'no_such_run'",
        ("--mode", "population", "no_such_run", "--users", "5"),
    ),
    Bad("--mode merge", "--mode merge takes 1 folder, got none", ("--mode", "merge")),
    Bad("--mode merge no_such_folder", "'no_such_folder' holds no population", ("--mode", "merge", "no_such_folder")),
    Bad("--executor slurm", "argument --executor: invalid choice: 'slurm'", ("--executor", "slurm")),
    Bad("--num_workers 0", "--num_workers must be an integer of at least 1, got 0", ("--num_workers", "0")),
    Bad("--ray_address auto", "ray_address needs the executor ray, got local", ("--ray_address", "auto")),
    Bad(
        "--executor ray --training_workers 0",
        "--training_workers must be an integer of at least 1, got 0",
        ("--executor", "ray", "--training_workers", "0"),
    ),
    Bad("--training_workers 2", "--training_workers needs --executor ray, got local", ("--training_workers", "2")),
    Bad(
        "--mode report a --executor ray",
        "--mode report takes no --executor",
        ("--mode", "report", "a", "--executor", "ray"),
    ),
    Bad("--users 5", "--mode train_and_evaluate takes no --users", ("--users", "5")),
    Bad("--policies learned", "--mode train_and_evaluate takes no --policies", ("--policies", "learned")),
    Bad(
        "--resume --dry_run --output_dir runs/one",
        "--resume and --dry_run exclude each other",
        ("--resume", "--dry_run", "--output_dir", "runs/one"),
    ),
    Bad("--mode report a --resume", "--mode report takes no --resume", ("--mode", "report", "a", "--resume")),
    Bad(
        "--mode report a --gin_bindings 'x.y = 1'",
        "--mode report takes no --gin_bindings",
        ("--mode", "report", "a", "--gin_bindings", "x.y = 1"),
    ),
]

TABLE = f"{P}.{NETWORK}.corpus_ctor = @{P}.TableCorpus"
NO_TABLE = f"{P}.TableCorpus.path = 'no_such.csv'"
EXPERIMENT = f"{P}.experiment"
BINDINGS = [
    binding("", "a binding is empty, something like 'a.b = 1' is needed"),
    binding("x", "expected ':' or '='"),
    binding("= 3", "Unexpected token"),
    binding("horizon = 3", r"'horizon' is a macro that nothing refers to"),
    binding(
        f"{EXPERIMENT}.policies = [@my_policies.mine]",
        "is 'import my_policies' missing, or gin.configurable above mine",
    ),
    binding(f"{EXPERIMENT}.warm_start_ctor = 3", "warm_start_ctor must be"),
    binding(
        f"{P}.Distillation.teacher = @{P}.learned_step",
        "teacher must be a policy that needs no training",
        f"{EXPERIMENT}.warm_start_ctor = @{P}.Distillation",
    ),
    binding(f"{EXPERIMENT}.pretrained = 3", "experiment.pretrained: .* must be the folder of a pretraining, got 3"),
    binding(f"{EXPERIMENT}.pretrained = 'no_such_folder'", "'no_such_folder' holds no pretraining"),
    binding(
        f"{EXPERIMENT}.pretrained = 'no_such_folder'",
        "experiment.pretrained must be None where warm_start_ctor is given",
        f"{EXPERIMENT}.warm_start_ctor = @{P}.Distillation",
    ),
    binding(f"{P}.pretrain.log = 3", "there is no file 'no_such_log.csv'", mode=PRETRAIN),
    binding(f"{P}.pretrain.log = 3", "pretrain.log must be the path of a CSV or Parquet file", mode=PRETRAIN[:2]),
    binding(f"{P}.pretrain.seed = 4294967296", "pretrain.seed must be at most 4294967295", mode=PRETRAIN),
    binding(
        f"{P}.pretrain.test_share = 0.6",
        "validation_share and test_share must be below 1 together, got 0.5 and 0.6",
        f"{P}.pretrain.validation_share = 0.5",
        mode=PRETRAIN,
    ),
    binding(
        f"{P}.pretrain.columns_ctor = @{P}.ReferenceCorpus", "ReferenceCorpus stands in the wrong place", mode=PRETRAIN
    ),
    binding(f"{P}.pretrain.columns_ctor = @{P}.Alarms", "columns_ctor must make a ColumnMap", mode=PRETRAIN),
    binding(
        f"{P}.{NETWORK}.recommender_ctor = @{P}.UniformRandomRecommender",
        "has no Keras model as its scorer",
        mode=PRETRAIN,
    ),
    binding(f"{P}.sweep.space = 3", "sweep.space must be a dict of at least one binding, .*got 3", mode=SWEEP),
    binding(f"{P}.sweep.space = {{}}", "sweep.space must be a dict of at least one binding", mode=SWEEP),
    binding(f"{P}.sweep.num_trials = 3", "sweep.space must be a dict of at least one binding, .*got None", mode=SWEEP),
    binding(f"{P}.sweep.space = {{'{_ENTROPY}': 3}}", "entropy_bonus must have a distribution", mode=SWEEP),
    binding(f"{P}.sweep.space = {{'a b': @{P}.Choice()}}", "Choice.choices must be 2 to 1000 different", mode=SWEEP),
    *(
        binding(f"{P}.{shown}", says, *(f"{P}.{one}" for one in _FLOATS), mode=SWEEP)
        for shown, says in (
            ("FloatRange.low = 'x'", "FloatRange.low must be a finite number, got 'x'"),
            ("FloatRange.low = 0.2", "FloatRange.high must be a finite number above 0.2, got 0.2"),
            (
                "FloatRange.low = -0.2",
                "entropy_bonus = -0.2: PolicyGradientLearner: entropy_bonus must be a finite number of at least 0",
            ),
            ("sweep.sampler = 'bayes'", "sweep.sampler must be one of brute_force, random, tpe, got 'bayes'"),
            (
                "sweep.sampler = 'brute_force'",
                "brute_force needs integers and choices, .*entropy_bonus has a FloatRange",
            ),
            ("sweep.pruner = 'mean'", "sweep.pruner must be one of median, none, percentile, got 'mean'"),
            ("sweep.storage = 'mysql'", "sweep.storage must be one of journal, none, sqlite, got 'mysql'"),
            ("sweep.num_trials = 100001", "sweep.num_trials must be at most 100000, got 100001"),
            ("experiment.seeds = [0, 1]", r"seeds must be one seed in a sweep, the same for all trials, got \[0, 1\]"),
            ("experiment.validate_every_steps = 0", "validate_every_steps must be at least 1 in a sweep"),
            ("experiment.horizon = 0", "horizon must be an integer of at least 1, got 0"),
            (
                f"sweep.space = {{'{P}.PolicyGradientLearner.entropy_bonos': @{P}.FloatRange()}}",
                r"sweep.space: .*entropy_bonos.*did you mean entropy_bonus\?",
            ),
            (
                f"sweep.space = {{'{P}.NoSuchLearner.entropy_bonus': @{P}.FloatRange()}}",
                "sweep.space: .*No configurable matching",
            ),
            (
                f"sweep.space = {{'{P}.experiment.corpus_seed': @{P}.FloatRange()}}",
                "sweep.space: experiment.corpus_seed must be the same in all trials: remove it",
            ),
        )
    ),
    binding(f"{EXPERIMENT} = 3", "No configurable matching 'recsys_po_rl'"),
    binding(f"{EXPERIMENT}.horizon", "expected ':' or '='"),
    binding(f"{EXPERIMENT}.horizon == 3", "expected ':' or '='"),
    binding(f"{EXPERIMENT}.horizon = 1 + 1", "Expected newline"),
    binding(f"{EXPERIMENT}.horizon = float('nan')", "nan|float|parse"),
    binding(f"{EXPERIMENT}.horizon = __import__('os')", "__import__|parse"),
    binding(f"{EXPERIMENT}.horizon = nan", "nan"),
    binding(f"{EXPERIMENT}.horizon = @{EXPERIMENT}()", "refers to itself"),
    binding(f"{EXPERIMENT}.horizon = {'[' * 300}", "EOF|nest|too many"),
    binding(f"{EXPERIMENT}.horizon = '\\udcff'", "horizon must be an integer"),
    binding(f"{EXPERIMENT}.horizon = %HORIZON", "HORIZON"),
    binding(f"{EXPERIMENT}.num_shards = 3", "num_shards must divide users_per_step, got 3 and 8"),
    binding(f"{EXPERIMENT}.num_shards = 2", "num_shards must be a multiple of the algorithm's 4 minibatches, got 2"),
    binding(f"{EXPERIMENT}.seeds = 'abc'", "seeds must be a list of at least one integer, got 'abc'"),
    binding(f"{EXPERIMENT}.seeds = [0.5]", "seeds: each must be an integer of at least 0, got 0.5"),
    binding(f"{EXPERIMENT}.seeds = [4294967296]", "seeds must be different and at most 4294967295"),
    binding(
        f"{EXPERIMENT}.policies = [@{P}.uniform_random, @{P}.uniform_random]", "policies must have different names"
    ),
    binding(
        f"{EXPERIMENT}.policies = [@few/{P}.uniform_random, @few/{P}.uniform_random]",
        "policies must have different names, or gin scopes",
    ),
    binding(f"{EXPERIMENT}.policies = [@{P}.UniformRandomRecommender]", "UniformRandomRecommender is a recommender"),
    binding(f"{EXPERIMENT}.policies = @{P}.uniform_random", "policies must be a list of constructors"),
    binding(f"{EXPERIMENT}.network_ctor = @{P}.uniform_random", "uniform_random stands in the wrong place"),
    binding(f"{EXPERIMENT}.learner_ctor = @{P}.uniform_random", "uniform_random stands in the wrong place"),
    binding(f"{EXPERIMENT}.runtime_ctor = @{P}.Linear", "Linear: end must be a finite number"),
    binding(f"{EXPERIMENT}.alarms_ctor = @{P}.uniform_random", "alarms_ctor must make .*Alarms.*got UniformRandom"),
    binding(f"{EXPERIMENT}.alarms_ctor = @{P}.Linear", "alarms_ctor must make .*Alarms.*got Linear"),
    binding(f"{P}.{NETWORK}.user_ctor = @{P}.ReferenceCorpus", "user_ctor must make .*got ReferenceCorpus"),
    binding(f"{P}.{NETWORK}.corpus_ctor = @{P}.InterestEvolutionUser", "corpus_ctor must make .*got InterestEvolution"),
    binding(
        f"{P}.{NETWORK}.metrics_ctor = @{P}.InterestEvolutionUser", "metrics_ctor must make .*got InterestEvolution"
    ),
    binding(
        f"{P}.{NETWORK}.recommender_ctor = @{P}.ReferenceCorpus", "recommender_ctor must make .*got ReferenceCorpus"
    ),
    binding(f"{P}.{NETWORK}.recommender_ctor = @{P}.FixedSlateRecommender", "doc_ids must be 2 different ids"),
    binding(f"{P}.{NETWORK}.recommender_ctor = @{P}.FullInformationRecommender", "full_information = True"),
    binding(f"{P}.{NETWORK}.corpus_ctor = @{P}.StaticCorpus", "StaticCorpus stands in the wrong place"),
    binding(f"{P}.{NETWORK}.slate_size = 1000", "slate_size must be at most num_docs, got 1000 > 100"),
    binding(f"{P}.ReferenceCorpus.seed = 4294967296", "seed must be at most 4294967295"),
    binding(f"{P}.{NETWORK}.num_docs = None", r"config\['num_docs'\] must be an integer of at least 1, got None"),
    binding(f"{P}.{NETWORK}.num_topics = None", r"config\['num_topics'\] must be an integer of at least 2, got None"),
    binding(
        f"{P}.{NETWORK}.corpus_ctor = @{P}.TableCorpus", "path must be the path of a CSV or Parquet file, got None"
    ),
    binding(f"{P}.TableCorpus.path = 3", "path must be the path of a CSV or Parquet file, got 3", TABLE),
    binding(f"{P}.TableCorpus.path = 'no_such.csv'", "there is no file 'no_such.csv'", TABLE),
    binding(f"{P}.TableCorpus.path = '/dev/zero'", "'/dev/zero' cannot be read: it is no regular file", TABLE),
    binding(f"{P}.TableCorpus.id_column = 3", "id_column must be the name of a column, got 3", TABLE, NO_TABLE),
    binding(f"{P}.TableCorpus.quality_column = ''", "quality_column must be the name of a column", TABLE, NO_TABLE),
    binding(f"{P}.TableCorpus.feature_columns = 'x'", "must be a list of names of columns or None", TABLE, NO_TABLE),
    binding(f"{P}.TableCorpus.embeddings_path = 3", "must be the path of a .npy file or None", TABLE, NO_TABLE),
    binding(f"{P}.SeededRuntime.mode = 'fast'", "mode must be one of eager, graph, xla"),
    binding(f"{P}.SelfAttentionModel.num_heads = 5", "num_heads", f"{P}.{WITH['SelfAttentionModel'][0]}"),
    binding(f"{P}.PolicyGradientLearner.critic = None", "trace_decay must be 1 without a critic"),
    binding(f"{P}.PolicyGradientLearner.whole_return = True", "whole_return must be False where there is a critic"),
    binding(f"{P}.PolicyGradientLearner.critic = @{P}.Reinforce", "Reinforce stands in the wrong place"),
    binding(f"{P}.PolicyGradientLearner.algorithm = @{P}.Linear", "algorithm must make one of training.algorithms"),
    binding(f"{P}.PolicyGradientLearner.algorithm = @{P}.uniform_random", "algorithm must make .*got UniformRandom"),
    binding(f"{P}.PolicyGradientLearner.optimizer = @{P}.Linear", "optimizer must make a Keras optimizer"),
    binding(f"{P}.PolicyGradientLearner.entropy_schedule = @{P}.Reinforce", "entropy_schedule must make one of"),
    binding("tf.keras.optimizers.Adam.learning_rate = 'x'", "Keras refuses Adam"),
    binding(
        "tf.keras.optimizers.Adam.learning_rate = -1", "Adam: learning_rate must be a finite number above 0, got -1"
    ),
    binding("tf.keras.optimizers.Adam.learning_rate = 0", "Adam: learning_rate must be a finite number above 0, got 0"),
    binding(
        "tf.keras.optimizers.Adam.learning_rate = 1e999", "Adam: learning_rate must be a finite number above 0, got"
    ),
    binding("tf.keras.optimizers.Adam.beta_1 = 1.0", "Adam: beta_1 must be below 1, got 1.0"),
    binding("tf.keras.optimizers.Adam.beta_2 = 'x'", "Adam: beta_2 must be a finite number"),
    binding("tf.keras.optimizers.Adam.epsilon = -1", "Adam: epsilon must be a finite number of at least 0, got -1"),
    binding("tf.keras.optimizers.Adam.clipnorm = 0", "Adam: clipnorm must be a finite number above 0, got 0"),
    binding("tf.keras.optimizers.Adam.lerning_rate = 1", "Keras refuses Adam: lerning_rate"),
    binding("tf.keras.optimizers.Adm.learning_rate = 1", r"did you mean tf.keras.optimizers.Adam\?"),
    binding(f"import {P}.no_such_module", "No module named 'recsys_po_rl.no_such_module'"),
    binding("include 'experiments'", "experiments"),
]

# Contents of a gin file that follows the tiny ones.
GIN_FILES: list[tuple[str, bytes, str]] = [
    ("a file that includes itself", b"include 'FILE'\n", "include one another in a circle"),
    ("bytes that are no UTF-8", b"\xff\xfe", "utf-8"),
    ("a NUL byte", b"recsys_po_rl.experiment.horizon = 5\0\n", "is no text: it holds a NUL"),
    ("an open bracket", b"recsys_po_rl.experiment.seeds = [0,\n", "."),
    ("an open text", b"recsys_po_rl.experiment.seeds = 'a\n", "."),
    ("a line of prose", b"the horizon is five\n", "."),
    ("Python", b"import os; os.system('true')\n", "."),
    ("a function call", b"recsys_po_rl.experiment.horizon = max(1, 2)\n", "max|parse"),
    ("an unknown name", b"recsys_po_rl.experimant.horizon = 5\n", r"did you mean recsys_po_rl.experiment\?"),
    ("an unknown parameter", b"recsys_po_rl.experiment.horizen = 5\n", r"did you mean horizon\?"),
    ("a bad number", b"recsys_po_rl.experiment.horizon = -5\n", "horizon must be an integer of at least 1, got -5"),
    ("an unknown include", b"include 'no/such.gin'\n", "no/such.gin"),
    ("an unknown import", b"import no.such\n", "No module named 'no'"),
    ("a macro without a value", b"recsys_po_rl.experiment.horizon = %H\n", "H"),
    ("JSON", b'{"recsys_po_rl.experiment.horizon": 5}\n', "."),
]


# Run folders: {run} is a finished run, changed before it is handed in; {other} another, whole one; {new} is no folder.
Change = Callable[[pathlib.Path], Any]


class BadRun(NamedTuple):
    """A command on a run folder in which something is wrong."""

    shown: str
    says: str
    arguments: tuple[str, ...]
    change: Change = lambda run: None


# A run as small as can be.
RUN = (
    *TINY,
    *("--gin_files", "runtime/eager.gin"),
    *(
        part
        for name, value in {
            "experiment.num_training_steps": 1,
            "experiment.horizon": 2,
            "experiment.users_per_step": 4,
            "experiment.num_shards": 1,
            "experiment.num_evaluation_users": 4,
            "experiment.evaluation_batch_size": 4,
            "experiment.validate_every_steps": 0,
            "experiment.policies": f"[@{P}.uniform_random]",
            f"{NETWORK}.num_docs": 9,
            f"{NETWORK}.num_topics": 4,
            "PolicyGradientLearner.algorithm": f"@{P}.Reinforce",
            "PolicyGradientLearner.critic": None,
            "PolicyGradientLearner.trace_decay": 1.0,
        }.items()
        for part in ("--gin_bindings", f"{P}.{name} = {value}")
    ),
)


def write(name: str, content: bytes) -> Change:
    """Replaces a file's content."""
    return lambda run: (run / name).write_bytes(content)


def rezip(members: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> Change:
    """Writes policy.keras anew, with some members replaced or added."""

    def change(run: pathlib.Path) -> None:
        with zipfile.ZipFile(run / "policy.keras") as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(run / "policy.keras", "w", compression) as archive:
            for name, data in {**content, **(members or {})}.items():
                archive.writestr(name, data)

    return change


def _keras_class(name: str, module: str = "keras.layers", registered_name: str | None = None) -> bytes:
    """An architecture that names a class."""
    named = {"module": module, "class_name": name, "registered_name": registered_name, "config": {}}
    return json.dumps(named).encode()


def cut(name: str) -> Change:
    """Leaves the first half of a file."""
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[: (run / name).stat().st_size // 2])


def remove(name: str) -> Change:
    """Removes a file or a folder."""
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def only(name: str) -> Change:
    """Removes all but one file."""

    def change(run: pathlib.Path) -> None:
        for path in run.iterdir():
            if path.name != name:
                remove(path.name)(run)

    return change


def set_key(name: str, value: Any, *keys: str) -> Change:
    """Changes a value of a JSON file."""

    def change(run: pathlib.Path) -> None:
        content = json.loads((run / name).read_text())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (run / name).write_text(json.dumps(content))

    return change


def cut_checkpoints(run: pathlib.Path) -> None:
    """Leaves the first half of each checkpoint's file of numbers."""
    for path in (run / "checkpoints").rglob("*.data-*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


_RESUME = (*RUN, "--resume", "--output_dir", "{run}")
_EVALUATE = ("--mode", "evaluate", "{run}", "--output_dir", "{new}")
_COMPARE = ("--mode", "compare", "{run}", "{other}", "--output_dir", "{new}")
_NEW = (*TINY, "--output_dir")
RUNS = [
    BadRun("--output_dir RUN, which holds a run", "already holds a run", (*_NEW, "{run}")),
    BadRun("--output_dir '', an empty path", "output_dir must be a path, got ''", (*_NEW, "")),
    BadRun("--output_dir RUN/config.gin, a file", "is a file, a folder is needed", (*_NEW, "{run}/config.gin")),
    BadRun("--output_dir RUN/config.gin/x, below a file", "cannot be made", (*_NEW, "{run}/config.gin/x")),
    BadRun("--output_dir with 300 letters", "cannot be made: .*name", (*_NEW, "{new}" + "x" * 300)),
    BadRun("--output_dir that is no UTF-8", "output_dir must be text in UTF-8", (*_NEW, "{new}\udcff")),
    BadRun("--resume, another horizon", "another configuration: .*horizon was 2, is 3",
           (*_RESUME, "--gin_bindings", f"{EXPERIMENT}.horizon = 3")),
    BadRun("--resume, other seeds", r"another configuration: .*seeds was \[0\], is \[1\]",
           (*_RESUME, "--gin_bindings", f"{EXPERIMENT}.seeds = [1]")),
    BadRun("--resume, environment.json cut", "environment.json is missing or cannot be read", _RESUME,
           cut("environment.json")),
    BadRun("--resume, environment.json of another version", "holds a run of recsys-po-rl 0.0.0, this is", _RESUME,
           set_key("environment.json", "0.0.0", "versions", "recsys-po-rl")),
    BadRun("--resume, environment.json a list", "environment.json is missing or cannot be read", _RESUME,
           write("environment.json", b"[]")),
    BadRun("--resume, config.gin removed", "config.gin is missing", _RESUME, remove("config.gin")),
    BadRun("--resume, config.gin no text", "config.gin cannot be read", _RESUME, write("config.gin", b"\xff\xfe")),
    BadRun("--resume, metrics.csv alone", "holds metrics.csv but no config.gin", _RESUME, only("metrics.csv")),
    BadRun("--resume, the checkpoint of another run", "another run", _RESUME,
           set_key("environment.json", "0" * 32, "run")),
    BadRun("--mode evaluate, no folder", "there is no run folder", ("--mode", "evaluate", "{new}")),
    BadRun("--mode evaluate, a file", "there is no run folder", ("--mode", "evaluate", "{run}/config.gin")),
    BadRun("--mode evaluate, environment.json removed", "no whole environment.json", _EVALUATE,
           remove("environment.json")),
    BadRun("--mode evaluate, environment.json cut", "no whole environment.json", _EVALUATE, cut("environment.json")),
    BadRun("--mode evaluate, no seeds", "no whole environment.json", _EVALUATE,
           set_key("environment.json", [], "seeds")),
    BadRun("--mode evaluate, invalid seeds", "environment.json", _EVALUATE,
           set_key("environment.json", ["../../x"], "seeds")),
    BadRun("--mode evaluate, an invalid corpus seed", "corpus_seed", _EVALUATE,
           set_key("environment.json", "x", "corpus_seed")),
    BadRun("--mode evaluate, config.gin removed", "config.gin cannot be read", _EVALUATE, remove("config.gin")),
    BadRun("--mode evaluate, config.gin no text", "config.gin cannot be read", _EVALUATE,
           write("config.gin", b"\xff\xfe")),
    BadRun("--mode evaluate, config.gin cut", ".", _EVALUATE, write("config.gin", b"recsys_po_rl.experiment.hor")),
    BadRun("--mode evaluate, no checkpoints", "has no whole checkpoint", _EVALUATE, remove("checkpoints")),
    BadRun("--mode evaluate, checkpoints cut", "has no whole checkpoint", _EVALUATE, cut_checkpoints),
    BadRun("--mode evaluate, the checkpoint of another run", "another run", _EVALUATE,
           set_key("environment.json", "0" * 32, "run")),
    BadRun("--mode evaluate, another number of documents", "does not fit this network",
           (*_EVALUATE, "--gin_bindings", f"{P}.{NETWORK}.num_docs = 8")),
    BadRun("--mode evaluate, a bad binding", "horizon must be an integer of at least 1, got 0",
           (*_EVALUATE, "--gin_bindings", f"{EXPERIMENT}.horizon = 0")),
    BadRun("--mode evaluate, two seeds", "seeds must be the run's own, or one seed",
           (*_EVALUATE, "--gin_bindings", f"{EXPERIMENT}.seeds = [1, 2]")),
    BadRun("--mode evaluate, --output_dir holds a run", "already holds a run",
           ("--mode", "evaluate", "{run}", "--output_dir", "{other}")),
    BadRun("--mode sweep --resume, a folder of a run", "holds files, but no sweep: choose a new folder",
           (*SWEEP, "experiments/sweep.gin", "--resume", "--output_dir", "{run}")),
    BadRun("--mode sweep, --output_dir holds a run", "already holds a run",
           (*SWEEP, "experiments/sweep.gin", "--output_dir", "{run}")),
    BadRun("--mode report, a folder whose sweep.json is a list", "sweep.json is not what this project writes",
           ("--mode", "report", "{run}"), write("sweep.json", b"[]")),
    BadRun("--mode report, no folder", "is no folder: a run folder is needed", ("--mode", "report", "{new}")),
    BadRun("--mode report, a file", "is no folder: a run folder is needed", ("--mode", "report", "{run}/config.gin")),
    BadRun("--mode report, a folder without a run", "holds no run", ("--mode", "report", "{run}/checkpoints")),
    BadRun("--mode report, an empty path", "a run folder must be a path, got ''", ("--mode", "report", "")),
    BadRun("--mode compare, no folder", "is no folder: a run folder is needed",
           ("--mode", "compare", "{run}", "{new}")),
    BadRun("--mode compare, evaluation.json removed", "is not finished: there is no evaluation.json", _COMPARE,
           remove("evaluation.json")),
    BadRun("--mode compare, evaluation.json cut", "evaluation.json", _COMPARE, cut("evaluation.json")),
    BadRun("--mode compare, evaluation.json a list", "evaluation.json", _COMPARE, write("evaluation.json", b"[1]")),
    BadRun("--mode compare, invalid policies", "has not the form that this project writes", _COMPARE,
           set_key("evaluation.json", 3, "policies")),
    BadRun("--mode compare, a mean that is text", "has not the form that this project writes", _COMPARE,
           set_key("evaluation.json", "x", "policies", "learned", "mean")),
    BadRun("--mode compare, another horizon", r"differ in horizon \(9 and 2\)", _COMPARE,
           set_key("evaluation.json", 9, "world", "horizon")),
    BadRun("--mode compare, another world", "differ in .*num_docs", _COMPARE,
           set_key("evaluation.json", 8, "world", "num_docs")),
    BadRun("--mode compare, a world of another version", "recorded by different versions of this project", _COMPARE,
           set_key("evaluation.json", 1, "world", "form")),
    BadRun("--mode compare, --output_dir holds a run", "already holds a run",
           ("--mode", "compare", "{run}", "{other}", "--output_dir", "{run}")),
]  # fmt: skip

# Run folders for `recsys_po_rl.load_policy`.
POLICIES = [
    BadRun("load_policy(RUN/config.gin)", "there is no run folder", ("{run}/config.gin",)),
    BadRun("load_policy(RUN), policy.keras removed", "has no policy.keras", ("{run}",), remove("policy.keras")),
    BadRun("load_policy(RUN), policy.keras cut", "is no policy that can be read", ("{run}",), cut("policy.keras")),
    BadRun("load_policy(RUN), policy.keras a text", "is no policy that can be read", ("{run}",),
           write("policy.keras", b"hello")),
    BadRun("load_policy(RUN), policy.keras a pickle", "is no policy that can be read", ("{run}",),
           write("policy.keras", b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")),
    BadRun("load_policy(RUN), policy.keras compressed", "must be stored, not compressed", ("{run}",),
           rezip(compression=zipfile.ZIP_DEFLATED)),
    BadRun("load_policy(RUN), policy.keras with another file in it", "must hold metadata.json, config.json and",
           ("{run}",), rezip({"assets/x": b""})),
    BadRun("load_policy(RUN), policy.keras of a Lambda layer", "names the Keras class 'Lambda', which is not among",
           ("{run}",), rezip({"config.json": _keras_class("Lambda")})),
    BadRun("load_policy(RUN), policy.keras of a class that is not given", r"custom_objects=\{'mine>Scorer': THE_CLASS",
           ("{run}",), rezip({"config.json": _keras_class("Scorer", "mine", "mine>Scorer")})),
    BadRun("load_policy(RUN), policy.keras without an architecture", "config must be a layer or a model", ("{run}",),
           rezip({"config.json": b"[]"})),
]  # fmt: skip
