"""Modes population and merge: shards in any order, on any executor, whatever is killed."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import threading

import numpy as np
import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment, population, tasks
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.run_folder import per_user, population_files

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
BATCH, USERS, SHARD = 4, 38, 8  # five shards, the last of 6 users
POLICIES = ["learned", "uniform_random"]
KILLS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    gin_config.parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        [
            "recsys_po_rl.experiment.seeds = [4]",
            "recsys_po_rl.experiment.horizon = 3",
            "recsys_po_rl.experiment.num_training_steps = 1",
            "recsys_po_rl.experiment.num_evaluation_users = 12",
            f"recsys_po_rl.experiment.evaluation_batch_size = {BATCH}",
            "recsys_po_rl.experiment.num_validation_users = 4",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
            f"{NETWORK}.num_docs = 8",
            f"{NETWORK}.num_topics = 4",
        ],
    )
    return experiment(output_dir=str(tmp_path_factory.mktemp("runs") / "one"), quiet=True).run_dir


def evaluate(run, folder, **options):
    given = {"policies": POLICIES, "users_per_shard": SHARD, "quiet": True, **options}
    return population.evaluate_population(run, USERS, output_dir=str(folder), **given)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("populations") / "whole"
    evaluate(run, folder)
    return folder


def content(folder):
    return (pathlib.Path(folder) / population_files.RESULT).read_bytes()


def test_the_first_users_are_those_of_the_evaluation(run, whole):
    settings = population_files.read_settings(str(whole))
    shards = list(population_files.read_shards(str(whole), settings))
    assert [shard.policies["learned"].reward.count for shard in shards] == [8, 8, 8, 8, 6]
    rewards = per_user.load(run)  # rounded to float32
    for name in POLICIES:
        first = rewards[name][:SHARD].astype(np.float64)
        np.testing.assert_allclose(shards[0].policies[name].reward.total, first.sum(), rtol=1e-7)
    result = json.loads(content(whole))
    assert result["policies"]["learned"]["minus_learned"]["mean"] == 0.0
    totals = [shard.policies["uniform_random"].reward.total for shard in shards]
    assert result["policies"]["uniform_random"]["mean"] == pytest.approx(sum(totals) / USERS, rel=1e-14)
    assert len({round(total, 6) for total in totals}) == len(totals)  # each shard has users of its own


def test_parts_in_any_order_give_the_same_numbers(run, whole, tmp_path, capsys):
    assert evaluate(run, tmp_path / "parts", shards=(3, 5)).population is None
    assert evaluate(run, tmp_path / "parts", shards=(0, 1), quiet=False).population is None
    assert "2 of 5 shards are not there yet; then: --mode merge" in capsys.readouterr().out
    with pytest.raises(validation.InvalidInputError, match=r"^2 of 5 shards are missing, --shards 1:3$"):
        population.merge(str(tmp_path / "parts"))
    before = os.stat(population_files.shard_path(str(tmp_path / "parts"), 4)).st_mtime_ns
    evaluate(run, tmp_path / "parts")
    assert os.stat(population_files.shard_path(str(tmp_path / "parts"), 4)).st_mtime_ns == before
    assert content(tmp_path / "parts") == content(whole)


def test_other_numbers_of_shards_and_workers(run, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(population, "MAX_TASKS", 2)
    evaluate(run, tmp_path / "two", executor=LocalExecutor(2))
    assert content(tmp_path / "two") == content(whole)
    larger = evaluate(run, tmp_path / "larger", users_per_shard=5 * SHARD).population
    expected = json.loads(content(whole))["policies"]["learned"]
    assert larger.policies["learned"].mean == pytest.approx(expected["mean"], rel=1e-15)
    assert larger.policies["learned"].quantiles == expected["quantiles"]


def children():
    """Processes of tasks that this process has started, by their number."""
    own, found = str(os.getpid()), []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
            if parent == own and b"local_processes" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


def ray_workers():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::run"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def killing(processes, number, stop):
    """Kill a random process now and then, until `number` have been killed."""
    chance, killed = random.Random(0), 0
    while killed < number and not stop.wait(chance.uniform(0.2, 1.5)):
        for pid in chance.sample(now := processes(), min(1, len(now))):
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                continue
    return killed


@pytest.mark.parametrize(("name", "kills"), [("local", KILLS), ("ray", 6)])  # a worker of Ray takes long to start
def test_kills_do_not_change_the_numbers(run, whole, tmp_path, monkeypatch, capsys, name, kills):
    monkeypatch.setattr(tasks, "MAX_KILLS", kills)
    if name == "local":
        executor, processes = LocalExecutor(2), children
    else:
        from recsys_po_rl.experiment.ray_executor import RayExecutor

        executor, processes = RayExecutor(num_at_once=2), ray_workers
    stop, killed = threading.Event(), []
    thread = threading.Thread(target=lambda: killed.append(killing(processes, kills, stop)))
    thread.start()
    try:
        evaluate(run, tmp_path / "killed", executor=executor)
    finally:
        stop.set()
        thread.join()
    assert content(tmp_path / "killed") == content(whole)
    assert killed == [kills]
    assert capsys.readouterr().err.count("its process was killed, and is started again") == kills


def test_another_population_is_refused(run, whole):
    with pytest.raises(validation.InvalidInputError, match=r"holds another population: users_per_shard was 8, is 16$"):
        evaluate(run, whole, users_per_shard=16)
    binding = "recsys_po_rl.experiment.horizon = 2"
    with pytest.raises(validation.InvalidInputError, match=r"holds another population: horizon was 3, is 2$"):
        evaluate(run, whole, gin_bindings=[binding])
    with pytest.raises(validation.InvalidInputError, match="holds files, but no population: choose a new folder"):
        evaluate(run, run)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"shards": (0, 6)}, "shards must be FIRST:END between 0:1 and 0:5, got 0:6"),
        ({"shards": (2, 2)}, "shards must be FIRST:END between 0:1 and 0:5, got 2:2"),
        ({"users_per_shard": 6}, "users_per_shard must be a multiple of experiment.evaluation_batch_size, 4, got 6"),
        ({"policies": ["best"]}, "policies: each must be one of learned, .*, got 'best'"),
        ({"policies": ["learned", "learned"]}, "policies must be different names, got learned, learned"),
    ],
)
def test_impossible_arguments_are_refused(run, tmp_path, options, line):
    with pytest.raises(validation.InvalidInputError, match=f"^{line}$"):
        evaluate(run, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        ("shards/shard_1.json", '"shard": 1', '"shard": 2', "shard_1.json is of another population: delete it and"),
        ("shards/shard_1.json", '"count": 8', '"count": 8e400', "shard_1.json"),
        ("shards/shard_1.json", '"histogram": {', '"histogram": {"x": 1,', "shard_1.json: bins of learned must be in"),
        ("shards/shard_1.json", '"count": 8', '"count": 7', r"the shards in .* have 37 users of learned, not 38"),
        ("population_settings.json", f'"num_users": {USERS}', '"num_users": 999999999999', "at most 1,000,000 shards"),
        ("population_settings.json", '"schema_version": 1', '"schema_version": 2', "written by a later version"),
    ],
)
def test_damaged_files_are_one_line(whole, tmp_path, name, old, new, line):
    shutil.copytree(whole, tmp_path / "copy")
    path = tmp_path / "copy" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(validation.InvalidInputError, match=line) as raised:
        population.merge(str(tmp_path / "copy"))
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_population_is_named(tmp_path):
    with pytest.raises(validation.InvalidInputError, match="holds no population: --mode population makes one"):
        population.merge(str(tmp_path))


def test_the_table(whole):
    text = population.table(population.merge(str(whole), quiet=True).population)
    lines = text.splitlines()
    assert lines[0].startswith("Cumulative consumed time per user over 3 slates, 38 users")
    assert re.fullmatch(r"uniform_random( +\S+){8}", lines[-1].replace(", ", ",")), lines[-1]
