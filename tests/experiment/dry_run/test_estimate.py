"""--dry_run: how measured costs are scaled, what is printed, what is refused."""

import re

import gin
import pytest

import run_simulation
from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment.dry_run import calibration, estimate
from recsys_po_rl.experiment.dry_run.calibration import Cost
from recsys_po_rl.policies import planning

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
FILES = ["experiments/default.gin", "overlays/tiny.gin", "runtime/graph.gin"]
MB = 1e6
TRAINING = Cost(first_seconds=7.0, seconds_per_user_step=0.01, program_bytes=50 * MB, bytes_per_user_step=2 * MB)
EVALUATION = Cost(first_seconds=1.0, seconds_per_user_step=0.001, program_bytes=5 * MB, bytes_per_user_step=0.1 * MB)


def asked(*bindings):
    gin_config.parse(FILES, list(bindings))
    return config_lib.validated(**config_lib.bound(experiment))


@pytest.fixture
def measured(monkeypatch):
    """Costs that need no measuring, and 1 GB of memory; tests may change them."""
    costs = {"training": TRAINING, "evaluation": EVALUATION, "available": 1000 * MB}
    monkeypatch.setattr(calibration, "of_training", lambda *_: costs["training"])
    monkeypatch.setattr(calibration, "of_evaluation", lambda *_: costs["evaluation"])
    monkeypatch.setattr(calibration, "available_bytes", lambda: costs["available"] / estimate.MEMORY_SHARE)
    monkeypatch.setattr(calibration, "resident_bytes", lambda: 400 * MB)
    return costs


def seconds_parts(*bindings):
    return estimate.estimate(asked(*bindings)).seconds_parts


def test_time_is_what_was_measured_times_what_there_is(measured):
    # 3 steps of 8 users and 5 slates; validation of 12 users after steps 2 and 3; 24 users evaluated; 2 policies, of
    # which one has a log of 24 users, in a network of its own.
    required = estimate.estimate(asked())
    assert required.seconds_parts == {
        "training": pytest.approx(7.0 + 1.0 + 0.01 * 3 * 8 * 5 + 0.001 * 2 * 12 * 5),
        "searches": pytest.approx(1.0 + 0.001 * 24 * 5),
        "evaluation": pytest.approx((2 + 2) * 1.0 + (3 + 2) * 0.001 * 24 * 5),
        "libraries and files": estimate.OTHER_SECONDS,
    }
    assert required.seconds == pytest.approx(sum(required.seconds_parts.values()))


def test_memory_is_what_stays_and_the_largest_batch(measured):
    memory_parts = estimate.estimate(asked()).memory_parts
    assert memory_parts == {
        "libraries": 400 * MB,
        "programs": (50 + 2 * 5 + 2 * 5) * MB,
        "results": 24 * 5 * estimate.BYTES_PER_EVALUATED_USER,
        "users": 2 * MB * 8 * 5,
    }
    measured["evaluation"] = EVALUATION._replace(bytes_per_user_step=2 * MB)
    batch = asked().evaluation_batch_size
    assert estimate.estimate(asked()).memory_parts["users"] == pytest.approx(2 * MB * 2 * batch * 5)


def test_a_search_counts_its_users_and_a_value_that_two_policies_share_counts_once(measured):
    parts = seconds_parts("recsys_po_rl.experiment.policies = [@recsys_po_rl.best_fixed_topic]")
    assert parts["searches"] == pytest.approx(1.0 + 0.001 * 10 * 1000 * 5)  # topics x users x slates
    assert parts["evaluation"] == pytest.approx((2 + 1) * 1.0 + (3 + 1) * 0.001 * 24 * 5)
    both = (
        "recsys_po_rl.experiment.policies = [@recsys_po_rl.full_information_reference, @recsys_po_rl.belief_reference]"
    )
    parts = seconds_parts(both)
    fitted = 1.0 + 0.001 * planning.VALUE_COST * 10 * 1000 * 5  # iterations x users x slates
    assert parts["searches"] == pytest.approx(fitted)
    assert parts["evaluation"] == pytest.approx((2 + 2) * 1.0 + (3 + planning.VALUE_COST + 4.0 * 64) * 0.001 * 24 * 5)
    alone = seconds_parts("recsys_po_rl.experiment.policies = [@recsys_po_rl.belief_reference]")
    assert alone["searches"] == pytest.approx(fitted)  # the fit simulates planners, not particles
    on_grid = seconds_parts(both, f"{NETWORK}.num_topics = 2", f"{NETWORK}.num_docs = 10")
    slates = 121**2 * 45 * 5  # grid points x slates x steps
    assert on_grid["searches"] == pytest.approx(0.001 * planning.GRID_SLATE_COST * slates)


def test_a_warm_start_counts_its_rounds_and_the_search_of_its_teacher(measured):
    none = "recsys_po_rl.experiment.policies = []"
    cold = seconds_parts(none)
    assert cold["searches"] == 0.0
    warm = seconds_parts(
        none,
        "recsys_po_rl.experiment.warm_start_ctor = @recsys_po_rl.Distillation",
        "recsys_po_rl.Distillation.users_per_round = 8",
    )
    rounds = 2 * (10 * 8 + 3 * 2 * 8) * 5  # rounds x (rollout and updates of 8 users) x slates
    fitted = 10 * 1000 * 5
    assert warm["training"] - cold["training"] == pytest.approx(0.001 * (rounds + planning.VALUE_COST * fitted))


def test_a_second_training_counts_twice(measured):
    one = estimate.estimate(asked("recsys_po_rl.experiment.policies = []"))
    two = estimate.estimate(asked("recsys_po_rl.experiment.policies = [@recsys_po_rl.learned_full_information]"))
    assert two.seconds_parts["searches"] == pytest.approx(one.seconds_parts["training"])
    assert two.memory_parts["programs"] - one.memory_parts["programs"] == (50 + 5) * MB


def test_seeds_side_by_side_share_memory_and_cores(measured):
    one = estimate.estimate(asked())
    measured["available"] = 3 * sum(one.memory_parts.values())
    several = estimate.estimate(
        asked("recsys_po_rl.experiment.seeds = [1, 2, 3]", "recsys_po_rl.experiment.num_processes = 2")
    )
    assert several.num_processes == 2
    assert several.seconds == pytest.approx(2 * estimate.SECOND_CORE * one.seconds)
    measured["available"] = 1.9 * sum(one.memory_parts.values())
    assert estimate.estimate(asked()).num_processes == 1
    with pytest.raises(validation.InvalidInputError, match=r"GB in a process and .*users_per_step may be at most"):
        estimate.estimate(asked("recsys_po_rl.experiment.seeds = [1, 2]", "recsys_po_rl.experiment.num_processes = 2"))


@pytest.mark.parametrize(("name", "unit"), [("experiment.users_per_step", 4), ("experiment.evaluation_batch_size", 1)])
def test_what_does_not_fit_is_refused_with_the_largest_population_that_would(name, unit, measured):
    bound = [f"recsys_po_rl.{name} = 4000", "recsys_po_rl.experiment.num_evaluation_users = 4000"]
    with pytest.raises(validation.InvalidInputError, match=rf"{name} may be at most \d+, got 4000$") as refused:
        estimate.estimate(asked(*bound))
    assert "\n" not in str(refused.value)
    most = int(re.search(r"at most (\d+)", str(refused.value))[1])
    assert most % unit == 0
    estimate.estimate(asked(f"recsys_po_rl.{name} = {most}", bound[1]))
    with pytest.raises(validation.InvalidInputError, match=f"at most {most}, got {most + unit}$"):
        estimate.estimate(asked(f"recsys_po_rl.{name} = {most + unit}", bound[1]))


def test_no_population_fits_beside_the_libraries(measured):
    measured["available"] = 300 * MB
    with pytest.raises(
        validation.InvalidInputError,
        match=r"^experiment\.users_per_step = 8 needs .* 0\.00 GB are free .*: no number would",
    ):
        estimate.estimate(asked())


def test_a_corpus_and_an_evaluation_that_cannot_fit_are_refused_before_anything_is_made(measured):
    with pytest.raises(validation.InvalidInputError, match=r"num_docs may be at most 4464285, got 1000000000$"):
        estimate.estimate(asked(f"{NETWORK}.num_docs = 1000000000"))
    with pytest.raises(
        validation.InvalidInputError, match=r"num_evaluation_users may be at most 1000000, got 10000000000$"
    ):
        estimate.estimate(asked("recsys_po_rl.experiment.num_evaluation_users = 10000000000"))


def test_the_command_line_prints_it_and_writes_nothing(measured, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gin.clear_config()
    flags = [flag for file in FILES for flag in ("--gin_files", file)]
    assert commands.run(run_simulation.parse_flags([*flags, "--dry_run"])) == 0
    out = capfd.readouterr().out
    assert "memory      0.55 GB (libraries 0.40 GB, programs 0.07 GB, " in out
    assert "time        30 s (for a seed: training 9 s, searches 1 s, evaluation 5 s, libraries and files 15 s)" in out
    assert list(tmp_path.iterdir()) == []
    measured["available"] = 300 * MB
    assert commands.run(run_simulation.parse_flags([*flags, "--dry_run"])) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: experiment.users_per_step = 8 needs about ")


def test_costs_are_told_from_two_sizes(monkeypatch):
    memory = {"bytes": 100 * MB}
    monkeypatch.setattr(calibration, "resident_bytes", lambda: memory["bytes"])
    sizes = []

    def work_of(num_users):
        sizes.append(num_users)
        memory["bytes"] += 30 * MB + num_users * 1 * MB
        return lambda: None

    cost = calibration._cost(work_of, num_users=1000, steps=10, num_docs=100)
    assert sizes == [calibration.SMALL, calibration.LARGE]
    assert cost.program_bytes == pytest.approx((30 + calibration.SMALL) * MB)
    assert cost.bytes_per_user_step == pytest.approx((calibration.LARGE - calibration.SMALL) * MB / (2500))
    sizes.clear()
    calibration._cost(work_of, num_users=1, steps=10, num_docs=100)
    calibration._cost(work_of, num_users=1000, steps=10, num_docs=10000)  # few users where there are many documents
    assert sizes == [1, 1, 1, 2]


@pytest.mark.slow
def test_a_real_measurement_gives_positive_costs():
    required = estimate.estimate(
        asked(
            "recsys_po_rl.experiment.horizon = 2",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.popular_by_clicks]",
            "recsys_po_rl.experiment.evaluation_batch_size = 2",
            f"{NETWORK}.num_docs = 8",
            f"{NETWORK}.num_topics = 4",
        )
    )
    assert set(required.seconds_parts) == {"training", "searches", "evaluation", "libraries and files"}
    assert all(seconds > 0 for seconds in required.seconds_parts.values())
    assert required.memory_parts["libraries"] > 100 * MB
    assert calibration.available_bytes() > 100 * MB
