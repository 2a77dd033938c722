"""Run folders whose names are patterns, and run folders that move while a run is at work."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands, modes
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.run_folder import checkpoints, csv_tables, layout
from recsys_po_rl.training.alarms import Alarms
from tests.support import toy_run

TOY, contents = toy_run.TOY, toy_run.contents

GLOB_NAME = "lr=[1e-3,2e-3] *?{a,b} #1 %41"


@pytest.fixture(autouse=True)
def _evaluations_are_cheap(monkeypatch):
    toy_run.make_evaluations_cheap(monkeypatch.setattr)
    monkeypatch.setattr(run_lib, "_show", lambda plan, result: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The contents of runs that nothing happened to, by their seeds."""
    with pytest.MonkeyPatch.context() as patched:
        toy_run.make_evaluations_cheap(patched.setattr)
        patched.setattr(run_lib, "_show", lambda plan, result: None)
        found = {}
        for seeds in ((3,), (3, 5)):
            folder = tmp_path_factory.mktemp("whole") / "run"
            run(folder, seeds)
            found[seeds] = contents(folder)
        return found


def run(folder, seeds=(3,), **options):
    return experiment(seeds=seeds, output_dir=str(folder), **{"num_processes": 1, **TOY, **options})


def before_step(number, do, patch):
    """Calls `do` when a training step begins."""
    original = toy_run.ToyLearner.step

    def step(self, keys, progress):
        if round(progress * TOY["num_training_steps"]) == number - 1:
            do()
        return original(self, keys, progress)

    patch.setattr(toy_run.ToyLearner, "step", step)


def steps_of(folder):
    return [row["step"] for row in csv_tables.whole_rows(str(folder / layout.METRICS))]


# Names


class StopError(Exception):
    pass


def stop():
    raise StopError


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seeds"), [(GLOB_NAME, (3,)), (GLOB_NAME, (3, 5)), ("[!a]\\", (3,))])
def test_a_run_in_a_folder_whose_name_is_a_pattern_goes_on(name, seeds, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        before_step(6, stop, patched)
        with pytest.raises(StopError):
            run(tmp_path / name, seeds)
    result = run(tmp_path / name, seeds, resume=True)
    assert [row.step for row in result.history] == [1, 2, 3, 4, 5, 6, 7] * len(seeds)
    (tmp_path / name).rename(tmp_path / "plain")  # `contents` reads checkpoints where TensorFlow can
    assert contents(tmp_path / "plain") == whole[seeds]


@pytest.mark.slow
def test_folders_that_a_name_matches_are_left_alone(tmp_path):
    """A name with `*` leads TensorFlow's own file functions to others' checkpoints."""
    run(tmp_path / "run1")
    others = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run(tmp_path / "run*", seeds=(8,))
    assert {path: path.read_bytes() for path in others} == others
    environment = layout.read_json(str(tmp_path / "run*"), layout.ENVIRONMENT)
    found = checkpoints.find(str(tmp_path / "run*"), environment["run"])
    best = [tf.Variable(0.0), tf.Variable(np.zeros(3, np.float32))]
    with checkpoints.readable(found.whole[0].path) as path:
        tf.train.Checkpoint(best_weights=best).restore(path).expect_partial()
    evaluation = layout.read_json(str(tmp_path / "run*"), layout.EVALUATION)
    for weight, expected in zip(best, evaluation["policies"]["learned"]["weights"], strict=True):
        np.testing.assert_array_equal(weight.numpy(), np.float32(expected))


def test_tensorflow_itself_finds_the_last_checkpoints(tmp_path):
    run(tmp_path / "run")
    folder = tmp_path / "run" / layout.CHECKPOINTS
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-7")
    assert tf.train.get_checkpoint_state(str(folder)).all_model_checkpoint_paths == [
        str(folder / f"ckpt-{step}") for step in (4, 6, 7)
    ]
    assert tf.train.latest_checkpoint(str(folder / layout.BEST)) is not None
    shutil.move(tmp_path / "run", tmp_path / "other")
    moved = tmp_path / "other" / layout.CHECKPOINTS
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "ckpt-7")


# Moves

MOVED = "was renamed, removed or replaced while the run was at work"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(3,), (3, 5)])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_renamed_is_saved_and_the_run_stops(replaced, seeds, whole, tmp_path, monkeypatch):
    folder, renamed = tmp_path / "run", tmp_path / "renamed"

    def rename():
        folder.rename(renamed)
        if replaced:
            (folder / "seed_3").mkdir(parents=True)

    with monkeypatch.context() as patched:
        before_step(3, rename, patched)
        with pytest.raises(layout.FolderMovedError, match=MOVED) as error:
            run(folder, seeds, alarms_ctor=lambda: Alarms(min_entropy=100.0))
    assert "\n" not in gin_config.first_line(error.value)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    last = renamed / "seed_3" if len(seeds) > 1 else renamed
    assert steps_of(last) == ["1", "2", "3"]
    assert (last / layout.CHECKPOINTS / "ckpt-3.json").exists()
    if not replaced:
        assert not folder.exists()
    run(renamed, seeds, alarms_ctor=lambda: Alarms(min_entropy=100.0), resume=True)
    found = {name: content for name, content in contents(renamed).items() if layout.ALARMS not in name}
    assert found == whole[seeds]


def test_a_folder_that_is_removed_is_not_made_again(tmp_path, monkeypatch):
    before_step(3, lambda: shutil.rmtree(tmp_path / "run"), monkeypatch)
    with pytest.raises(layout.FolderMovedError, match=rf"{MOVED}: training stops after step 3, and nothing is left"):
        run(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["toy_evaluation", "report"])
def test_a_folder_that_is_renamed_after_the_training_is_not_made_again(writer, whole, tmp_path, monkeypatch):
    folder, renamed = tmp_path / "run", tmp_path / "renamed"
    owner, name = {
        "toy_evaluation": (toy_run.single_seed, "evaluate_policies"),
        "report": (toy_run.pages, "report"),
    }[writer]
    with monkeypatch.context() as patched:
        original = getattr(owner, name)

        def rename(*args):
            folder.rename(renamed)
            return original(*args)

        patched.setattr(owner, name, rename)
        with pytest.raises(layout.FolderMovedError, match=MOVED):
            run(folder)
    assert not folder.exists()
    run(renamed, resume=True)
    assert contents(renamed) == whole[3,]


def test_the_command_line_says_so_in_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    before_step(2, lambda: (tmp_path / "run").rename(tmp_path / "renamed"), monkeypatch)
    monkeypatch.setitem(modes.MODES, "toy", lambda flags: run(tmp_path / "run"))
    assert commands.run(toy_run.types.SimpleNamespace(mode="toy")) == commands.FAILED
    assert capsys.readouterr().err == (
        f"error: the run folder {str(tmp_path / 'run')!r} {MOVED}: training stops after step 2, which is saved; "
        "--resume --output_dir with the new path goes on\n"
    )


def test_nothing_is_written_into_a_folder_that_does_not_exist(tmp_path):
    for write in (layout.write_text, layout.write_json):
        with pytest.raises(FileNotFoundError, match=r"run/note"):
            write(str(tmp_path / "run"), "note", "text")
    with pytest.raises(FileNotFoundError):
        layout.make_subfolder(str(tmp_path / "run"), "deep")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_taken_for_a_folder_that_moved(tmp_path):
    with pytest.raises(validation.InvalidInputError, match="No space left on device"), layout.errors_of(str(tmp_path)):
        raise OSError(28, "No space left on device", str(tmp_path / "file"))
    with pytest.raises(KeyError), layout.errors_of(str(tmp_path)):
        raise KeyError("of the run itself")
