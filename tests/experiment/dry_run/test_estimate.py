"""--dry_run: what is printed, how measured costs are scaled, what is refused."""

import gin
import numpy as np
import pytest

import run_simulation
from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment.dry_run import calibration, estimate, scaling
from recsys_po_rl.experiment.dry_run.calibration import Cost, PolicyCost

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
FILES = ["experiments/default.gin", "overlays/tiny.gin", "runtime/graph.gin"]
MB = 1e6
MEASURED = calibration.Sizes(500, 100)
TRAINING = Cost(
    first_seconds=7.0,
    seconds_per_user_step=0.01,
    measured_user_steps=10,
    program_bytes=50 * MB,
    kept_bytes_per_user_step=2 * MB,
    building_bytes=20 * MB,
)
EVALUATION = Cost(
    first_seconds=1.0, seconds_per_user_step=0.001, program_bytes=5 * MB, kept_bytes_per_user_step=0.1 * MB
)


def asked(*bindings):
    gin_config.parse(FILES, list(bindings))
    return config_lib.validated(**config_lib.bound(experiment))


@pytest.fixture
def measured(monkeypatch):
    """Costs that need no measuring, and 1 GB of memory; tests may change them."""
    costs = {"training": TRAINING, "evaluation": EVALUATION, "available": 1000 * MB}
    monkeypatch.setattr(calibration, "of_training", lambda *_: costs["training"])
    monkeypatch.setattr(calibration, "of_evaluation", lambda *_: costs["evaluation"])
    monkeypatch.setattr(calibration, "of_policy", lambda context, _: PolicyCost(2.0, 5, costs["evaluation"]))
    monkeypatch.setattr(calibration, "available_bytes", lambda: costs["available"] / estimate.MEMORY_SHARE)
    monkeypatch.setattr(calibration, "resident_bytes", lambda: 400 * MB)
    monkeypatch.setattr(calibration, "seconds_since_start", lambda: 4.0)
    return costs


def test_time_is_what_was_measured_times_what_there_is(measured):
    # 3 steps of 8 users and 5 slates; validation of 12 users after steps 2 and 3; 24 users evaluated.
    found = estimate.estimate(asked())
    assert found.seconds_parts["training"] == pytest.approx(7.0 + 1.0 + 0.01 * 3 * 8 * 5 + 0.001 * 2 * 12 * 5)
    assert found.seconds_parts["learned"] == pytest.approx(1.0 + 3 * 0.001 * 24 * 5)
    assert found.seconds_parts["uniform_random"] == pytest.approx(2.0 + 1.0 + 0.001 * 24 * 5)
    # A log of 24 users: 5 user-steps of the search are in the 2 seconds already.
    assert found.seconds_parts["popular_by_clicks"] == pytest.approx(2.0 + 1.0 + 0.001 * (24 * 5 + 24 * 5 - 5))
    assert found.seconds == pytest.approx(sum(found.seconds_parts.values()))
    assert found.seconds_parts["loading and files"] == 4.0 + estimate.FILES_SECONDS


@pytest.mark.slow
def test_memory_is_what_stays_and_the_largest_of_what_comes_and_goes(measured):
    found = estimate.estimate(asked())
    assert found.memory_parts == {
        "libraries": 400 * MB,
        "programs": (50 + 2 * 5 + 2 * 5) * MB,
        "more users at once": 2 * (8 * 5 - 10) * MB,
        "what users bring": 24 * 5 * scaling.BYTES_PER_EVALUATED_USER,
    }
    assert found.memory_bytes == sum(found.memory_parts.values())
    measured["training"] = TRAINING._replace(building_bytes=300 * MB)
    assert estimate.estimate(asked()).memory_parts["more users at once"] == 300 * MB


@pytest.mark.slow
def test_a_search_counts_its_users_and_a_value_that_two_policies_share_counts_once(measured):
    topic = "[@recsys_po_rl.best_fixed_topic]"
    found = estimate.estimate(asked(f"recsys_po_rl.experiment.policies = {topic}"))
    searched = 10 * 1000 * 5 - 5  # topics x users x slates, beyond the short search
    assert found.seconds_parts["best_fixed_topic"] == pytest.approx(2.0 + 1.0 + 0.001 * (24 * 5 + searched))
    both = "[@recsys_po_rl.belief_reference, @recsys_po_rl.full_information_reference]"
    found = estimate.estimate(asked(f"recsys_po_rl.experiment.policies = {both}"))
    fitted = 10 * 1000 * 5 - 5  # iterations x users x slates
    evaluated = 2.0 + 1.0 + 0.001 * 24 * 5
    assert found.seconds_parts["full_information_reference"] == pytest.approx(evaluated)
    first = evaluated + 0.001 * fitted + 0.01 * scaling.FIT_USER_STEPS * fitted
    assert found.seconds_parts["belief_reference"] == pytest.approx(first)
    grid = estimate.estimate(
        asked(f"recsys_po_rl.experiment.policies = {both}", f"{NETWORK}.num_topics = 2", f"{NETWORK}.num_docs = 10")
    )
    slates = 121**2 * 45 * 5  # grid points x slates x steps
    first = evaluated + 0.01 * scaling.GRID_USER_STEPS * slates
    assert grid.seconds_parts["belief_reference"] == pytest.approx(first)


@pytest.mark.slow
def test_a_second_training_counts_twice(measured):
    one = estimate.estimate(asked("recsys_po_rl.experiment.policies = []"))
    two = estimate.estimate(asked("recsys_po_rl.experiment.policies = [@recsys_po_rl.learned_full_information]"))
    more = two.seconds_parts["learned_full_information"]
    assert more == pytest.approx(one.seconds_parts["training"] + 0.001 * 24 * 5)
    assert two.memory_parts["programs"] - one.memory_parts["programs"] == 50 * MB


@pytest.mark.slow
def test_seeds_side_by_side_share_memory_and_cores(measured):
    one = estimate.estimate(asked())
    measured["available"] = 3 * one.memory_bytes
    several = estimate.estimate(
        asked("recsys_po_rl.experiment.seeds = [1, 2, 3]", "recsys_po_rl.experiment.num_processes = 2")
    )
    assert several.num_processes == 2
    assert several.seconds == pytest.approx(2 * estimate.SECOND_CORE * one.seconds)
    measured["available"] = 1.9 * one.memory_bytes
    assert estimate.estimate(asked()).num_processes == 1
    with pytest.raises(
        validation.InvalidInputError, match=r"GB in each of 2 processes and .*users_per_step may be at most"
    ):
        estimate.estimate(asked("recsys_po_rl.experiment.seeds = [1, 2]", "recsys_po_rl.experiment.num_processes = 2"))


@pytest.mark.parametrize(("name", "unit"), [("experiment.users_per_step", 4), ("experiment.evaluation_batch_size", 1)])
def test_what_does_not_fit_is_refused_with_the_largest_population_that_would(name, unit, measured):
    import re

    bound = [f"recsys_po_rl.{name} = 4000", "recsys_po_rl.experiment.num_evaluation_users = 4000"]
    with pytest.raises(validation.InvalidInputError, match=rf"{name} may be at most \d+ here, got 4000") as refused:
        estimate.estimate(asked(*bound))
    assert "\n" not in str(refused.value)
    most = int(re.search(r"at most (\d+)", str(refused.value))[1])
    assert most % unit == 0
    estimate.estimate(asked(f"recsys_po_rl.{name} = {most}", bound[1]))
    with pytest.raises(validation.InvalidInputError, match=f"at most {most} here, got {most + unit}"):
        estimate.estimate(asked(f"recsys_po_rl.{name} = {most + unit}", bound[1]))


def test_both_populations_and_none_at_all(measured):
    both = [f"recsys_po_rl.experiment.{name} = 4000" for name in
            ("users_per_step", "evaluation_batch_size", "num_evaluation_users")]  # fmt: skip
    with pytest.raises(
        validation.InvalidInputError, match=r"users_per_step may be at most \d+ and .*batch_size \d+ here"
    ):
        estimate.estimate(asked(*both))
    measured["available"] = 300 * MB
    with pytest.raises(
        validation.InvalidInputError, match=r"needs about 0\.\d\d GB and 0\.30 GB are .*: no population would fit"
    ):
        estimate.estimate(asked())


def test_a_corpus_and_an_evaluation_that_cannot_fit_are_refused_before_anything_is_made(measured):
    with pytest.raises(validation.InvalidInputError, match=r"num_docs may be at most 4400000$"):
        estimate.estimate(asked(f"{NETWORK}.num_docs = 1000000000"))
    with pytest.raises(validation.InvalidInputError, match=r"num_evaluation_users may be at most 1000000$"):
        estimate.estimate(asked("recsys_po_rl.experiment.num_evaluation_users = 10000000000"))


def test_shapes_entities_and_parameters_are_those_of_the_network(measured):
    found = estimate.estimate(asked(f"{NETWORK}.num_docs = 7", f"{NETWORK}.num_topics = 4"))
    shapes = {(variable, field): shape for variable, field, shape in found.shapes}
    assert shapes["user state", "interest.state"] == "(U, 4)"
    assert shapes["slate docs", "doc_features"] == "(U, 2, 4)"
    assert shapes["available docs", "doc_id"] == "(7)"
    assert found.entities["user"] == "InterestEvolutionUser"
    network = gin.get_configurable(NETWORK)(num_users=2, corpus_seed=0)
    assert found.num_parameters == sum(np.prod(weight.shape) for weight in network.trainable_variables)


def test_the_command_line_prints_it_and_writes_nothing(measured, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gin.clear_config()
    flags = [flag for file in FILES for flag in ("--gin_files", file)]
    assert commands.run(run_simulation.parse_flags([*flags, "--dry_run"])) == 0
    out = capfd.readouterr().out
    for part in ("3 steps of 8 users in 4 shards", "user state", "(U, 10)", "memory      0.", "metrics.csv", "U: 2 in"):
        assert part in out
    assert list(tmp_path.iterdir()) == []
    measured["available"] = 300 * MB
    assert commands.run(run_simulation.parse_flags([*flags, "--dry_run"])) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: this experiment needs about ")


def test_what_is_measured_is_small():
    big = asked("recsys_po_rl.experiment.horizon = 1000")
    assert calibration.small_sizes(big, 10**6, 1.0, 2) == (500, 100)
    assert calibration.small_sizes(big, 10**6, 1.0, 8) == (125, 100)
    assert calibration.small_sizes(big, 10**6, 1e-4, 2) == (2, 100)
    assert calibration.small_sizes(big, 7, 1.0, 2) == (7, 100)
    assert calibration.larger_sizes(big, 10**6, MEASURED) == (2000, 100)
    assert calibration.larger_sizes(big, 600, MEASURED) == (600, 100)
    assert calibration.larger_sizes(big, 500, MEASURED) == (500, 400)
    assert calibration.larger_sizes(asked("recsys_po_rl.experiment.horizon = 100"), 500, MEASURED) is None


def test_growth_is_told_from_two_sizes():
    costs = {4: Cost(3.0, 0.5, 40, 100 * MB), 16: Cost(4.0, 0.25, 160, 360 * MB)}
    sizes = [calibration.Sizes(users, 10) for users in costs]
    found = calibration._with_growth(lambda one: costs[one.users], *sizes)
    assert (found.first_seconds, found.program_bytes, found.measured_user_steps) == (3.0, 100 * MB, 40)
    assert found.seconds_per_user_step == 0.25
    assert found.kept_bytes_per_user_step == 360 * MB / 120
    assert calibration._with_growth(lambda one: costs[one.users], sizes[0], None) == costs[4]


@pytest.mark.slow
def test_a_peak_is_seen_although_it_is_gone():
    def action():
        np.ones(int(100 * MB), np.uint8).sum()

    nothing, peak = calibration.peak_bytes(lambda: None), calibration.peak_bytes(action)
    if calibration.resets_peak():
        assert nothing < 20 * MB
        assert 90 * MB < peak < 150 * MB
    else:  # a system that does not tell
        assert (nothing, peak) == (0.0, 0.0)


@pytest.mark.slow
def test_a_real_measurement_gives_positive_costs_and_the_files_that_a_run_writes(tmp_path):
    checked = asked(
        "recsys_po_rl.experiment.horizon = 2",
        "recsys_po_rl.experiment.policies = [@recsys_po_rl.popular_by_clicks, @recsys_po_rl.best_fixed_topic]",
        "recsys_po_rl.experiment.num_evaluation_users = 4",
        "recsys_po_rl.experiment.evaluation_batch_size = 2",
        "recsys_po_rl.experiment.num_validation_users = 2",
        "recsys_po_rl.best_fixed_topic.num_search_users = 2",
        f"{NETWORK}.num_docs = 8",
        f"{NETWORK}.num_topics = 4",
    )
    found = estimate.estimate(checked)
    assert set(found.seconds_parts) == {
        "training", "learned", "popular_by_clicks", "best_fixed_topic", "loading and files",
    }  # fmt: skip
    assert all(seconds > 0 for seconds in found.seconds_parts.values())
    assert found.memory_bytes > found.memory_parts["libraries"] >= 0
    result = experiment(output_dir=str(tmp_path / "run"), quiet=True)
    written = {f"{path.name}/" if path.is_dir() else path.name for path in (tmp_path / "run").iterdir()}
    assert written == set(found.files)
    assert result.evaluation["left_out"] == {}
