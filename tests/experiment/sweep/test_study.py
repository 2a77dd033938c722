"""Suggestions, pruning and storage of a sweep, and its trials under kills, without a training."""

import dataclasses
import os
import pathlib
import random
import signal
import sys
import time

import numpy as np
import optuna
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.experiment.sweep import run, study
from recsys_po_rl.experiment.sweep.space import Choice, FloatRange, IntegerRange
from recsys_po_rl.run_folder import sweep_file
from recsys_po_rl.run_folder.sweep_file import COMPLETE, FAILED, PRUNED, Settings, Sweep, Trial
from tests.support.forked import LAST_STEP, ForkExecutor, reward, stub_trial

TRIALS, AT_ONCE, KILLS = 20, 3, 10
SPACE = {
    "kind": Choice(["a", "b", None]).record(),
    "layers": IntegerRange(1, 6).record(),
    "rate": FloatRange(1e-4, 1.0, log=True).record(),
}


def settings(**changed):
    given = dict(
        version="1", space=SPACE, num_trials_at_once=AT_ONCE, sampler="tpe", sampler_seed=5, num_startup_trials=4,
        pruner="median", percentile=25.0, num_warmup_steps=0,
    )  # fmt: skip
    return Settings(**{**given, **changed})


def trial(number, state, rewards, first_step=1, **bindings):
    given = {"kind": "'a'", "layers": 2, "rate": 0.1, **bindings}
    return Trial(
        number=number, state=state, bindings=given, steps=list(range(first_step, first_step + len(rewards))),
        mean_rewards=rewards,
    )  # fmt: skip


def of(bindings, number):
    return trial(number, COMPLETE, [reward(bindings, LAST_STEP)], first_step=LAST_STEP, **bindings)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_suggestions_depend_on_earlier_batches_and_the_seed_alone(sampler):
    of_sampler = settings(sampler=sampler)
    trials, batches = [], []
    for batch in range(4):
        batches.append(study.suggestions(of_sampler, trials, batch))
        trials += [of(bindings, len(trials)) for bindings in batches[-1]]
    for batch in range(4):
        assert study.suggestions(of_sampler, trials[: batch * AT_ONCE], batch) == batches[batch]
    flat = [tuple(bindings.values()) for batch in batches for bindings in batch]
    assert len(set(flat)) == len(flat)
    assert study.suggestions(dataclasses.replace(of_sampler, sampler_seed=6), [], 0) != batches[0]
    for bindings in (bindings for batch in batches for bindings in batch):
        assert bindings["kind"] in ("'a'", "'b'", "None")
        assert bindings["layers"] in range(1, 7)
        assert 1e-4 <= bindings["rate"] <= 1.0


@pytest.mark.parametrize("sampler", ["tpe", "random", "brute_force"])
def test_a_larger_batch_begins_with_the_smaller_one(sampler):
    space = {name: SPACE[name] for name in ("kind", "layers")}
    small, large = (settings(sampler=sampler, space=space, num_trials_at_once=size) for size in (2, 5))
    assert study.suggestions(large, [], 0)[:2] == study.suggestions(small, [], 0)


def test_brute_force_tries_each_combination_once():
    space = {"kind": Choice(["a", "b"]).record(), "layers": IntegerRange(1, 3).record()}
    of_all = settings(sampler="brute_force", space=space, num_trials_at_once=2)
    trials = []
    for batch in range(3):
        for bindings in study.suggestions(of_all, trials, batch):
            trials.append(Trial(number=len(trials), state=COMPLETE, bindings=bindings, steps=[1], mean_rewards=[1.0]))
    assert {tuple(trial.bindings.values()) for trial in trials} == {(k, n) for k in ("'a'", "'b'") for n in (1, 2, 3)}


def test_tpe_finds_better_values_than_random_ones():
    means = {}
    for sampler in ("tpe", "random"):
        values = []
        for seed in range(4):
            of_sampler = settings(sampler=sampler, sampler_seed=seed)
            trials = []
            for batch in range(12):
                suggested = study.suggestions(of_sampler, trials, batch)
                trials += [of(bindings, len(trials) + place) for place, bindings in enumerate(suggested)]
            values += [trial.value for trial in trials[18:]]
        means[sampler] = np.mean(values)
    assert means["tpe"] > means["random"] + 0.3


# Trials of earlier batches: at step 1 rewards 1, 2, 3, 4 of complete ones (median 2.5), 9 of one that was pruned.
EARLIER = [
    *(trial(number, COMPLETE, [float(number + 1), float(number + 2)]) for number in range(4)),
    trial(4, PRUNED, [9.0]),
    trial(5, FAILED, []),
]


@pytest.mark.parametrize(
    ("validations", "changed", "step"),
    [
        ({1: 2.4}, {}, 1),
        ({1: 2.6}, {}, None),
        ({1: 2.6, 2: 2.7}, {}, 2),  # the best so far, 2.7, is below the median 3.5 of step 2
        ({1: 2.6, 2: 3.6}, {}, None),
        ({1: 2.4}, {"pruner": "none"}, None),
        ({1: 2.4}, {"num_startup_trials": 5}, None),  # four are complete
        ({1: 2.4, 2: 2.4}, {"num_warmup_steps": 2}, 2),
        ({1: 3.2}, {"pruner": "percentile", "percentile": 25.0}, 1),  # the best quarter begins at 3.25
        ({1: 3.3}, {"pruner": "percentile", "percentile": 25.0}, None),
        ({1: 1.3}, {"pruner": "percentile", "percentile": 90.0}, None),
    ],
)
def test_pruning_by_hand(validations, changed, step):
    assert study.pruned_step(settings(**changed), EARLIER, validations, last_step=5) == step


def test_no_trial_is_pruned_at_the_last_step():
    assert study.pruned_step(settings(), EARLIER, {1: 2.6, 2: 0.0}, last_step=2) is None


def test_the_binding_that_decides_is_the_important_one():
    trials = []
    for number in range(60):
        bindings = {"kind": ("'a'", "'b'", "None")[number % 3], "layers": 1 + number % 5, "rate": 10 ** -(number % 4)}
        trials.append(trial(number, COMPLETE, [float(bindings["layers"])], **bindings))
    shares = study.importances(settings(), trials)
    assert next(iter(shares)) == "layers"
    assert shares["layers"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)
    assert study.importances(settings(), trials[:3]) is None


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_optuna_reads_the_storage(kind, tmp_path):
    path = tmp_path / study.STORAGES[kind]
    path.write_bytes(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")  # replaced, not read
    copy = study.Storage(str(tmp_path), kind, settings())
    copy.add(EARLIER[:3])
    copy.add(EARLIER[3:])
    if kind == "journal":
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    else:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    loaded = optuna.load_study(study_name=study.STUDY_NAME, storage=storage)
    assert loaded.best_trial.number == 3
    assert loaded.best_value == 5.0
    assert [trial.state.name for trial in loaded.trials] == ["COMPLETE"] * 4 + ["PRUNED", "FAIL"]
    assert loaded.trials[1].params == {"kind": "'a'", "layers": 2, "rate": 0.1}
    assert loaded.trials[1].intermediate_values == {1: 2.0, 2: 3.0}


def test_a_folder_in_the_place_of_the_storage_is_refused(tmp_path):
    (tmp_path / "study.journal").mkdir()
    with pytest.raises(validation.InvalidInputError, match=r"study.journal' is a folder: a file is written there"):
        study.Storage(str(tmp_path), "journal", settings())


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(validation.InvalidInputError, match=r'^a sweep needs Optuna, .* "recsys_po_rl\[cluster\]"$'):
        study.optuna()


# Trials under kills


def begin(folder):
    if os.path.exists(os.path.join(folder, sweep_file.SWEEP)):
        return sweep_file.read(folder)
    os.makedirs(folder, exist_ok=True)
    return Sweep(settings=settings(), num_trials=TRIALS, trials=[])


def drive(folder, num_workers):
    """Go on with the sweep in a folder, as a driver does."""
    return run.run_batches(begin(folder), str(folder), "journal", ForkExecutor(num_workers), stub_trial, quiet=True)


def started_driver(folder):
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)  # killed together with its trials, as when a machine is lost
        drive(folder, num_workers=2)
        os._exit(0)
    finally:
        os._exit(1)


def children(parent):
    """Processes that a process has forked and that have not ended."""
    alive = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if ppid == str(parent) and state != "Z":
            alive.append(int(path.parent.name))
    return alive


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    return drive(folder, num_workers=1), folder


def test_the_stub_sweep_has_pruned_and_complete_trials(uninterrupted):
    states = [trial.state for trial in uninterrupted[0].trials]
    assert len(states) == TRIALS
    assert states.count(PRUNED) >= 3
    assert states.count(COMPLETE) >= 3


@pytest.mark.slow
def test_ten_kills_of_trials_and_driver_change_nothing(uninterrupted, tmp_path):
    chance, folder = random.Random(1), tmp_path / "killed"
    kills = {"trial": 0, "driver": 0}
    driver = started_driver(folder)
    until = time.monotonic() + 60.0
    while sum(kills.values()) < KILLS:
        assert time.monotonic() < until
        time.sleep(chance.uniform(0.02, 0.1))
        trials = children(driver)
        if not trials:  # between batches
            continue
        if kills["driver"] < kills["trial"]:
            os.killpg(driver, signal.SIGKILL)
            _, status = os.waitpid(driver, 0)
            assert os.WIFSIGNALED(status), "the sweep ended before its kills"
            driver = started_driver(folder)
            kills["driver"] += 1
        else:
            try:
                os.kill(chance.choice(trials), signal.SIGKILL)
                kills["trial"] += 1
            except ProcessLookupError:
                continue
    _, status = os.waitpid(driver, 0)
    assert status == 0
    assert kills == {"trial": KILLS // 2, "driver": KILLS // 2}
    for name in (sweep_file.SWEEP, sweep_file.TRIALS):
        assert (folder / name).read_bytes() == (uninterrupted[1] / name).read_bytes()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.journal")))
    assert len(optuna.load_study(study_name=study.STUDY_NAME, storage=storage).trials) == TRIALS


def test_a_sweep_that_is_extended_has_the_trials_of_a_longer_one(uninterrupted, tmp_path):
    short = Sweep(settings=settings(), num_trials=7, trials=[])  # its last batch has one trial
    done = run.run_batches(short, str(tmp_path), "none", ForkExecutor(3), stub_trial, quiet=True)
    longer = dataclasses.replace(done, num_trials=11)
    done = run.run_batches(longer, str(tmp_path), "none", ForkExecutor(3), stub_trial, quiet=True)
    assert done.trials == uninterrupted[0].trials[:11]


# sweep.json


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"number": 1,', '"number": 2,', r"trials\[1\].number must be 1, as trials are in order, got 2"),
        ('"state": "pruned"', '"state": "lost"', "state must be complete or pruned or failed, got 'lost'"),
        ('"layers": ', '"layers": 9', "bindings.'layers' must be between 1 and 6"),
        ('"layers": ', '"layers": 0.', "bindings.'layers' must be an integer"),
        ('"rate": ', '"speed": ', "bindings must be values of the bindings of the space"),
        ('"schema_version": 1', '"schema_version": 2', "written by a later version"),
        ('"steps": [', '"steps": [7, ', "steps must be different steps in order, one for each mean reward"),
        ('"kind": "float"', '"kind": "pickle"', "kind must be float or integer or choice, got 'pickle'"),
    ],
)
def test_a_damaged_sweep_is_one_line(uninterrupted, tmp_path, old, new, line):
    text = (uninterrupted[1] / sweep_file.SWEEP).read_text()
    last = text.rindex(old)
    (tmp_path / sweep_file.SWEEP).write_text(text[:last] + new + text[last + len(old) :])
    with pytest.raises(validation.InvalidInputError, match=line) as raised:
        sweep_file.read(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(validation.InvalidInputError, match=r"holds no sweep: there is no sweep.json"):
        sweep_file.read(str(tmp_path))
