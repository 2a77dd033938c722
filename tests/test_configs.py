"""Every shipped gin file runs; experiments under the tiny overlay, fragments on top of the default."""

import json
import pathlib

import gin
import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.experiment import experiment
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

CONFIGS = gin_config.configs_dir()


def shipped(folder):
    return sorted(str(path.relative_to(CONFIGS)) for path in pathlib.Path(CONFIGS).glob(folder))


EAGER = "runtime/eager.gin"  # compiles nothing: a step takes seconds, a program minutes
EXPERIMENTS = shipped("experiments/**/*.gin")
SHORT = [  # enough to execute a file
    "recsys_po_rl.experiment.policies = []",
    "recsys_po_rl.experiment.num_training_steps = 1",
    "recsys_po_rl.experiment.horizon = 2",
    "recsys_po_rl.experiment.num_evaluation_users = 12",  # a single batch
    "recsys_po_rl.experiment.validate_every_steps = 0",
]
# The planner's search takes minutes without compilation; tests/policies/test_warm_start.py has it as the teacher.
QUICK_TEACHER = {"experiments/warm_start.gin": ["recsys_po_rl.Distillation.teacher = @recsys_po_rl.popular_by_clicks"]}
# Compiled as shipped; the others differ in numbers, scorers and algorithms, which eager mode runs too.
COMPILED = {"experiments/default.gin"}
# Files that each run of the default under the tiny overlay, in eager mode, executes anyway.
EXECUTED_BY_EXPERIMENTS = {
    "base.gin",
    "network/interest_evolution.gin",
    "overlays/tiny.gin",
    "runtime/eager.gin",
    "runtime/xla.gin",
    "scorer/averaged_history.gin",
    "training/ppo.gin",
}
FRAGMENTS = sorted(set(shipped("**/*.gin")) - set(EXPERIMENTS) - EXECUTED_BY_EXPERIMENTS)


def run(files, folder, bindings=()):
    gin_config.parse([*files, "overlays/tiny.gin"], bindings)
    return experiment(output_dir=str(folder), quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("experiment_file", EXPERIMENTS)
def test_every_experiment_runs_under_the_tiny_overlay(experiment_file, tmp_path):
    files, bindings = ([], []) if experiment_file in COMPILED else ([EAGER], SHORT)
    result = run([experiment_file, *files], tmp_path / "run", [*bindings, *QUICK_TEACHER.get(experiment_file, [])])
    assert len(result.history) == (3 if experiment_file in COMPILED else 1)
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["policies"]["learned"]["num_users"] == (24 if experiment_file in COMPILED else 12)


@pytest.mark.slow
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_fragment_runs_on_top_of_the_default(fragment, tmp_path):
    result = run(["experiments/default.gin", EAGER, fragment], tmp_path / "run", SHORT)
    assert result.evaluation["policies"]["learned"]["mean"] > 0.0


def test_the_default_includes_the_files_that_are_not_run_apart():
    included = (pathlib.Path(CONFIGS) / "experiments" / "default.gin").read_text()
    for path in EXECUTED_BY_EXPERIMENTS - {"overlays/tiny.gin", EAGER}:
        assert f"include '{path}'" in included


@pytest.mark.parametrize(
    ("experiment_file", "memory"),
    [("experiments/default.gin", ("slates", "step")), ("experiments/k2.gin", ("slates", "step")),
     ("experiments/v0_1.gin", ())],
)  # fmt: skip
def test_what_the_recommender_of_an_experiment_remembers(experiment_file, memory):
    gin_config.parse([experiment_file], [])
    network = create_interest_evolution_simulation_network(num_users=2, corpus_seed=0)
    assert network.recommender.memory == memory


def test_all_folders_of_configs_are_shipped(root):
    """setup.py lists the folders; one that it forgets would be missing from the wheel."""
    folders = {path.split("/")[0] for path in shipped("**/*.gin") if "/" in path}
    setup = (root / "setup.py").read_text()
    assert [name for name in folders if f'"{name}"' not in setup] == []


@pytest.mark.slow
def test_the_operative_config_gives_the_same_numbers_again(tmp_path):
    bindings = ["recsys_po_rl.experiment.seeds = [3]", *SHORT[1:]]
    first = run(["experiments/default.gin", EAGER], tmp_path / "first", bindings)
    gin.clear_config()
    gin_config.parse([str(tmp_path / "first" / "operative_config.gin")], [])
    second = experiment(output_dir=str(tmp_path / "second"))
    assert second.evaluation == first.evaluation
    untimed = [
        [cell for name, cell in row._asdict().items() if not name.endswith(("_seconds", "_per_second"))]
        for row in first.history
    ]
    again = [
        [cell for name, cell in row._asdict().items() if not name.endswith(("_seconds", "_per_second"))]
        for row in second.history
    ]
    assert untimed == again


def test_bindings_stay_unambiguous_beside_upstream(tmp_path):
    """Upstream registers classes of the same names; what we write must be readable with both imported."""
    from recsim_ng.applications.recsys_partially_observable_rl import user  # noqa: F401

    gin_config.parse(["experiments/default.gin"], [])
    text = gin_config.config_text()
    assert "recsys_po_rl.InterestEvolutionUser.interest_step_size = 0.1" in text
    gin.clear_config()
    gin.parse_config(text)
    assert gin.query_parameter("recsys_po_rl.InterestEvolutionUser.max_user_affinity") == 10.0
