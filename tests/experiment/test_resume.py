"""A run that was cut off goes on as if it had not been; what cannot be resumed is refused and left alone."""

import fcntl
import functools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands, modes
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config, experiment, recorder, run, signals, single_seed
from recsys_po_rl.experiment import resume as resume_lib
from recsys_po_rl.run_folder import checkpoints, csv_tables, layout
from tests.support import toy_run

TOY, ToyLearner, contents, untimed = toy_run.TOY, toy_run.ToyLearner, toy_run.contents, toy_run.untimed


@pytest.fixture(autouse=True)
def _evaluations_are_cheap(monkeypatch):
    toy_run.make_evaluations_cheap(monkeypatch.setattr)
    monkeypatch.setattr(run, "_show", lambda plan, result: None)


class Killed(BaseException):
    """In place of SIGKILL, within this process."""


class Disk:
    """Counts the calls that change files; before a given one the process is gone, and later ones do nothing."""

    CALLS = (
        (os, "replace"), (os, "unlink"), (os, "truncate"), (os, "fsync"), (os, "makedirs"), (os, "mkdir"),
        (shutil, "rmtree"), (csv_tables.CsvLogger, "_write_line"), (tf.train.Checkpoint, "_write"),
    )  # fmt: skip

    def __init__(self, patch, gone_before=None):
        self.calls = 0
        for owner, name in self.CALLS:
            patch.setattr(owner, name, self._watched(getattr(owner, name), gone_before))

    def _watched(self, function, gone_before):
        @functools.wraps(function)
        def call(*args, **options):
            self.calls += 1
            if gone_before is not None and self.calls >= gone_before:
                raise Killed
            return function(*args, **options)

        return call


def whole_run(folder, seeds=(3,), **options):
    return experiment(seeds=seeds, output_dir=str(folder), **{**TOY, **options})


def resume(folder, seeds=(3,), **options):
    return experiment(seeds=seeds, output_dir=str(folder), resume=True, **{**TOY, **options})


def before_step(number, do, patch):
    """Calls `do` when a training step begins."""
    original = ToyLearner.step

    def step(self, keys, progress):
        if round(progress * TOY["num_training_steps"]) == number - 1:
            do()
        return original(self, keys, progress)

    patch.setattr(ToyLearner, "step", step)


def die():
    raise Killed


def killed_in_step(folder, step, patch, seeds=(3,), **options):
    """A run whose process disappears in a step."""
    with patch.context() as patched:
        before_step(step, die, patched)
        with pytest.raises(Killed):
            whole_run(folder, seeds, **{"num_processes": 1, **options})


def files_of(folder):
    """Every byte of every file."""
    return {str(path): path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def refused(folder, message, seeds=(3,), **options):
    """Resuming is refused in one line, and nothing is changed."""
    before = files_of(folder)
    with pytest.raises(validation.InvalidInputError) as error:
        resume(folder, seeds, **options)
    assert files_of(folder) == before
    assert re.search(message, gin_config.first_line(error.value))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def whole(tmp_path):
    whole_run(tmp_path / "whole")
    return tmp_path / "whole"


def position(folder):
    return resume_lib.position_of(str(folder), recorder.tables(seed_run_plan()))


def seed_run_plan():
    given = {**config.bound(experiment), **TOY}
    return config.validated(**given)


# Equality


class WarmStart:
    """Weights that a training starts from; counts how often it was asked for."""

    calls = 0

    def __init__(self, level=0.5):
        self.level = level

    def __call__(self, student, context, num_batches):
        WarmStart.calls += 1
        student.recommender.weights.assign_add([self.level, -1.0, 2.0])  # a second call would be seen
        return {"level": self.level}

    def validate(self, network_ctor):
        assert network_ctor is TOY["network_ctor"]

    def fingerprint(self, describe):
        return f"WarmStart({describe(self.level)})"

    def search_cost(self, context):
        raise NotImplementedError


@pytest.mark.parametrize("step", [1, 5])
def test_a_warm_start_is_not_repeated(step, tmp_path, folder, monkeypatch):
    monkeypatch.setattr(WarmStart, "calls", 0)
    whole_run(tmp_path / "cold")
    whole_run(tmp_path / "warm", warm_start_ctor=WarmStart)
    assert untimed(tmp_path / "cold" / layout.METRICS) != untimed(tmp_path / "warm" / layout.METRICS)
    assert WarmStart.calls == 1
    killed_in_step(folder, step, monkeypatch, warm_start_ctor=WarmStart)
    refused(folder, "warm_start")
    refused(folder, "warm_start", warm_start_ctor=functools.partial(WarmStart, level=0.6))
    resume(folder, warm_start_ctor=WarmStart)
    assert WarmStart.calls == 2
    assert contents(folder) == contents(tmp_path / "warm")
    assert json.loads((folder / layout.WARM_START).read_text()) == {"level": 0.5}


def test_a_warm_start_without_training_is_not_repeated(tmp_path, folder, monkeypatch):
    options = {"warm_start_ctor": WarmStart, "num_training_steps": 0}
    whole_run(tmp_path / "whole", **options)
    with monkeypatch.context() as patched:
        patched.setattr(single_seed, "evaluate_policies", lambda *args: die())
        with pytest.raises(Killed):
            whole_run(folder, num_processes=1, **options)
    resume(folder, **options)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(step, whole, folder, monkeypatch):
    killed_in_step(folder, step, monkeypatch)
    assert len(untimed(folder / layout.METRICS)) == step - 1
    result = resume(folder)
    assert contents(folder) == contents(whole)
    assert [row.step for row in result.history] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_its_end(whole, folder, monkeypatch):
    killed_in_step(folder, 3, monkeypatch)
    for step in (4, 3, 6, 7):
        with monkeypatch.context() as patched:
            before_step(step, die, patched)
            with pytest.raises(Killed):
                resume(folder)
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_seeds_that_are_finished_stay_and_others_go_on(tmp_path, folder, monkeypatch):
    seeds = (3, 5, 8)
    whole_run(tmp_path / "whole", seeds, num_processes=1)
    calls = []
    with monkeypatch.context() as patched:
        before_step(5, lambda: die() if len(calls) == 1 else calls.append(None), patched)
        with pytest.raises(Killed):
            whole_run(folder, seeds, num_processes=1)
    finished = files_of(folder / "seed_3")
    result = resume(folder, seeds, num_processes=1)
    after = files_of(folder / "seed_3")
    assert {name: after[name] for name in finished} == finished
    assert contents(folder) == contents(tmp_path / "whole")
    assert [row.step for row in result.history] == [1, 2, 3, 4, 5, 6, 7] * 3
    assert [one.seed for one in result.per_seed] == [3, 5, 8]


@pytest.mark.slow
def test_one_seed_of_several_can_be_resumed_alone(tmp_path, folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch, seeds=(3, 5))
    whole_run(tmp_path / "whole", (3,))
    resume(folder / "seed_3", (3,))
    assert contents(folder / "seed_3") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_it_says_where_it_goes_on(folder, monkeypatch, capsys):
    killed_in_step(folder, 6, monkeypatch)
    resume(folder, quiet=False)
    assert "resumed from step 4\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_without_a_checkpoint_begins_at_step_0_and_says_so(whole, folder, monkeypatch, capsys):
    killed_in_step(folder, 2, monkeypatch)
    resume(folder, quiet=False)
    assert f"no whole checkpoint in {folder}: starts at step 0\n" in capsys.readouterr().out
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_folder_that_is_not_there_begins_at_step_0(whole, folder):
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_says_so(whole, capsys):
    before = files_of(whole)
    result = resume(whole, quiet=False)
    assert files_of(whole) == before
    assert f"the run in {whole} is finished: nothing is done" in capsys.readouterr().out
    assert result.evaluation == json.loads((whole / layout.EVALUATION).read_text())
    assert len(result.history) == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", [layout.EVALUATION, layout.TIMINGS, layout.OPERATIVE_CONFIG])
def test_a_file_that_is_missing_from_a_finished_run_is_made_again(name, whole, folder):
    shutil.copytree(whole, folder)
    (folder / name).unlink()
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_half_an_evaluation_is_made_again(whole, folder):
    shutil.copytree(whole, folder)
    text = (folder / layout.EVALUATION).read_text()
    (folder / layout.EVALUATION).write_text(text[:-20])
    resume(folder)
    assert (folder / layout.EVALUATION).read_text() == text


@pytest.mark.slow
def test_half_a_line_is_cut_off(whole, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    for name in (layout.METRICS, layout.VALIDATION, layout.GRADIENT_VARIANCE):
        with (folder / name).open("a") as file:
            file.write("3,6,0.12")
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_no_validation_and_no_steps_at_all(tmp_path):
    for number, options in enumerate(({"validate_every_steps": 0}, {"num_training_steps": 0})):
        whole_run(tmp_path / f"whole_{number}", **options)
        (tmp_path / f"whole_{number}" / layout.EVALUATION).rename(tmp_path / "before.json")
        resume(tmp_path / f"whole_{number}", **options)
        found = (tmp_path / f"whole_{number}" / layout.EVALUATION).read_text()
        assert found == (tmp_path / "before.json").read_text()


@pytest.mark.slow
def test_a_checkpoint_after_some_time(folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch, checkpoint_every_steps=100, checkpoint_every_minutes=1e-9)
    assert position(folder).step == 5


@pytest.mark.slow
def test_what_a_killed_writer_leaves_is_removed(whole, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    leftovers = [
        ".evaluation.json.a1b2c3d4", ".price.png.a1b2c3d4.png", "tensorboard/.cut-a1b2c3d4",
        "checkpoints/checkpoint.tmp0f", "checkpoints/.checkpoint.a1b2c3d4", "checkpoints/.ckpt-4.json.a1b2c3d4",
        "checkpoints/ckpt-6.data-00000-of-00001", "checkpoints/best/checkpoint.tmp0f",
    ]  # fmt: skip
    for name in leftovers:
        (folder / name).write_text("half")
    (folder / "checkpoints" / "ckpt-6_temp").mkdir()
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "every"), [((3,), 5), ((3, 5), 17)])
def test_a_run_that_is_killed_before_any_write_goes_on(seeds, every, tmp_path, monkeypatch):
    whole_run(tmp_path / "whole", seeds, num_processes=1)
    with monkeypatch.context() as patched:
        disk = Disk(patched)
        whole_run(tmp_path / "counted", seeds, num_processes=1)
    expected = contents(tmp_path / "whole")
    assert contents(tmp_path / "counted") == expected
    assert disk.calls > 100
    for moment in range(1, disk.calls + 1, every):
        folder = tmp_path / f"killed_{moment}"
        with monkeypatch.context() as patched:
            Disk(patched, gone_before=moment)
            with pytest.raises(Killed):
                whole_run(folder, seeds, num_processes=1)
        resume(folder, seeds, num_processes=1)
        assert contents(folder) == expected, moment
        shutil.rmtree(folder)


# Signals


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_saves_it(signum, whole, folder, monkeypatch):
    handlers = [signal.getsignal(one) for one in signals.SIGNALS]
    with monkeypatch.context() as patched:
        before_step(3, lambda: signal.raise_signal(signum), patched)
        with pytest.raises(signals.Stopped) as stopped:
            whole_run(folder)
    assert stopped.value.signum == signum
    assert [signal.getsignal(one) for one in signals.SIGNALS] == handlers
    assert len(untimed(folder / layout.METRICS)) == 3
    assert position(folder).step == 3
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_second_signal_stops_at_once_and_leaves_a_whole_folder(whole, folder, monkeypatch, capsys):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        before_step(4, twice, patched)
        with pytest.raises(signals.Stopped):
            whole_run(folder)
    assert "stopping after this training step (once more: at once)" in capsys.readouterr().err
    assert len(untimed(folder / layout.METRICS)) == 3
    assert position(folder).step == 2
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_is_one(whole, folder, monkeypatch):
    """A scheduler's SIGTERM reaches a seed's process directly, and as SIGINT from the process that began it."""

    def both():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        before_step(3, both, patched)
        with pytest.raises(signals.Stopped) as stopped:
            whole_run(folder)
    assert stopped.value.signum == signal.SIGTERM
    assert position(folder).step == 3
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_signal_in_the_evaluation_stops_at_once(whole, folder, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(single_seed, "evaluate_policies", lambda *args: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(signals.Stopped):
            whole_run(folder, quiet=False)
    assert f"interrupted: --resume --output_dir {folder} goes on" in capsys.readouterr().err
    assert position(folder).step == 7
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_signal_in_one_of_several_seeds_keeps_what_is_done(tmp_path, folder, monkeypatch):
    whole_run(tmp_path / "whole", (3, 5), num_processes=1)
    with monkeypatch.context() as patched:
        before_step(4, lambda: signal.raise_signal(signal.SIGINT), patched)
        with pytest.raises(signals.Stopped):
            whole_run(folder, (3, 5), num_processes=1)
    assert position(folder / "seed_3").step == 4
    resume(folder, (3, 5), num_processes=1)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_tells_the_signal(signum, status, folder, monkeypatch):
    class Flags:
        mode = "train_and_evaluate"

    monkeypatch.setitem(modes.MODES, "train_and_evaluate", lambda flags: whole_run(folder))
    before_step(2, lambda: signal.raise_signal(signum), monkeypatch)
    assert commands.run(Flags) == status


@pytest.mark.slow
def test_a_run_in_another_thread_leaves_signals_alone(folder):
    results = []
    thread = threading.Thread(target=lambda: results.append(whole_run(folder)))
    thread.start()
    thread.join()
    assert len(results[0].history) == 7


# Refusals


def test_without_resume_a_folder_with_a_run_is_refused(folder, monkeypatch):
    killed_in_step(folder, 3, monkeypatch)
    before = files_of(folder)
    with pytest.raises(validation.InvalidInputError, match="already holds a run"):
        whole_run(folder)
    assert files_of(folder) == before


def test_another_configuration_is_refused_key_by_key(folder, monkeypatch):
    killed_in_step(folder, 3, monkeypatch)
    refused(folder, r"another configuration: experiment.horizon was 3, is 4", horizon=4)
    refused(folder, r"experiment.seeds was \[3\], is \[4\]", seeds=(4,))
    refused(
        folder,
        r"experiment.corpus_seed was None, is 5; experiment.num_training_steps was 7, is 9$",
        corpus_seed=5,
        num_training_steps=9,
    )
    refused(folder, r"experiment.learner_ctor was ToyLearner, is partial\(ToyLearner\)",
            learner_ctor=functools.partial(ToyLearner))  # fmt: skip


def test_bindings_are_compared_by_what_they_say(folder, monkeypatch):
    gin_config.parse([], ["recsys_po_rl.PolicyGradientLearner.discount = 0.5"])
    killed_in_step(folder, 3, monkeypatch)
    gin_config.parse([], ["recsys_po_rl.PolicyGradientLearner.discount = 5e-1"])
    gin_config.parse([], ["recsys_po_rl.PolicyGradientLearner.critic = @recsys_po_rl.LearnedValue"])
    refused(folder, r"PolicyGradientLearner.critic was not bound, is @LearnedValue$")
    gin_config.parse([], ["recsys_po_rl.PolicyGradientLearner.discount = 0.25"])
    refused(folder, r"is @LearnedValue; PolicyGradientLearner.discount was 0.5, is 0.25$")


@pytest.mark.slow
def test_what_only_shows_or_hurries_may_differ(whole, folder, monkeypatch):
    gin_config.parse([], ["recsys_po_rl.experiment.quiet = False"])
    killed_in_step(folder, 3, monkeypatch, quiet=False)
    gin_config.parse([], ["recsys_po_rl.experiment.num_processes = 2", "recsys_po_rl.experiment.resume = True"])
    resume(folder, num_processes=2)
    assert contents(folder)[layout.EVALUATION] == contents(whole)[layout.EVALUATION]


def changed_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_another_version_is_refused(folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch)
    changed_json(folder / layout.ENVIRONMENT, lambda content: content["versions"].update({"recsys-po-rl": "0.0.1"}))
    refused(folder, r"holds a run of recsys-po-rl 0.0.1, this is .*: resume it with the version that it was made with")


@pytest.mark.slow
def test_other_versions_of_packages_are_told(folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch)
    changed_json(folder / layout.ENVIRONMENT, lambda content: content["versions"].update(tensorflow="2.1.0"))
    with pytest.warns(UserWarning, match=rf"the run began with tensorflow 2.1.0, now {re.escape(tf.__version__)}: "):
        resume(folder)


def test_a_folder_whose_run_cannot_be_told_is_refused(folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch)
    texts = {name: (folder / name).read_text() for name in (layout.CONFIG, layout.ENVIRONMENT)}
    (folder / layout.ENVIRONMENT).write_text(texts[layout.ENVIRONMENT][:30])
    refused(folder, r"environment.json is missing or cannot be read")
    (folder / layout.ENVIRONMENT).write_text(texts[layout.ENVIRONMENT])
    (folder / layout.CONFIG).write_text("recsys_po_rl.experiment.horizon = [1,")
    refused(folder, r"config.gin cannot be read \(not gin text")
    (folder / layout.CONFIG).unlink()
    refused(folder, r"config.gin is missing")
    (folder / layout.ENVIRONMENT).unlink()
    refused(folder, r"holds metrics.csv but no config.gin: it cannot be told which run that is")


def test_resume_needs_a_folder(tmp_path):
    with pytest.raises(validation.InvalidInputError, match=r"experiment.resume needs output_dir"):
        experiment(resume=True, **TOY)
    (tmp_path / "file").write_text("")
    with pytest.raises(validation.InvalidInputError, match=r"is a file, a folder is needed"):
        resume(tmp_path / "file")


def test_a_read_only_folder_is_refused(folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch)
    with monkeypatch.context() as patched:  # the superuser may write everywhere
        patched.setattr(layout.os, "access", lambda path, mode: mode != os.W_OK)
        refused(folder, r"is not writable$")


@pytest.mark.slow
def test_two_processes_do_not_write_the_same_run(folder, monkeypatch):
    killed_in_step(folder, 5, monkeypatch)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refused(folder, r"another process is at work in ")
    os.close(descriptor)
    resume(folder)


def broken(path, how):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(bytes(content))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "changed"])
@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".json"])
def test_where_the_last_checkpoint_is_broken_the_one_before_is_used(how, ending, whole, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    broken(folder / "checkpoints" / f"ckpt-4{ending}", how)
    found = position(folder)
    assert found.step == 2
    if (how, ending) != ("missing", ".json"):  # without it, nothing tells that there was one
        assert found.notes[0].startswith("the checkpoint of step 4 is broken (ckpt-4")
        assert found.notes[0].endswith("): that of step 2 is used")
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_where_all_checkpoints_are_broken_it_begins_at_step_0(whole, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    for step in (2, 4):
        broken(folder / "checkpoints" / f"ckpt-{step}.index", "truncated")
    assert position(folder).notes[-1] == f"no whole checkpoint in {folder}: starts at step 0"
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_checkpoint_whose_rows_are_lost_is_of_no_use(whole, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    lines = (folder / layout.METRICS).read_text().splitlines(keepends=True)
    (folder / layout.METRICS).write_text("".join(lines[:4]))  # steps 1 to 3
    assert position(folder).notes == [
        "the checkpoint of step 4 is of no use (metrics.csv lacks rows before it): that of step 2 is used",
        "resumed from step 2",
    ]
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path, folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    killed_in_step(tmp_path / "other", 6, monkeypatch, seeds=(4,))
    own = tmp_path / "own"
    shutil.copytree(folder / "checkpoints", own)
    for path in (tmp_path / "other" / "checkpoints").glob("ckpt-4.*"):  # under our own checksums
        if path.suffix != ".json":
            shutil.copy(path, folder / "checkpoints")
    refused(folder, r"ckpt-4' is not the one that this run wrote \(ckpt-4.data-00000-of-00001 is another file\)")
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", folder / "checkpoints")
    refused(folder, r"ckpt-4' is another run's: take it out of this folder")
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(own, folder / "checkpoints")
    resume(folder)


def test_a_checkpoint_of_another_network_is_refused(folder, monkeypatch):
    killed_in_step(folder, 6, monkeypatch)
    found = checkpoints.find(str(folder), json.loads((folder / layout.ENVIRONMENT).read_text())["run"]).whole[0]
    other = toy_run.ToyRecommender()
    other.weights = tf.Variable([1.0, 2.0])
    learner = toy_run.ToyLearner(toy_run.types.SimpleNamespace(recommender=other), 3, None)
    with pytest.raises(validation.InvalidInputError, match=r"ckpt-4' does not fit this network: ") as error:
        checkpoints.Checkpoints(str(folder), other, learner, "").restore(found)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [300, 1000, 3000])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(limit, whole, folder):
    """The largest size of a file stands for a disk's: the system refuses the rest of a write in the same way."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        with pytest.raises(
            validation.InvalidInputError, match=r"cannot be written: File too large; what is there is whole"
        ):
            whole_run(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    for path in folder.glob("*.csv"):
        assert path.read_bytes().endswith(b"\n") or not path.read_bytes()
    resume(folder)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_processes_that_are_killed_go_on(root, tmp_path):
    page = tmp_path / "KILLS.md"
    arguments = ["--moments", "4", "--real_moments", "1", "--output", str(page)]
    ran = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "kills.py"), *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "**5 of 5 resumed runs were equal.**" in page.read_text()
