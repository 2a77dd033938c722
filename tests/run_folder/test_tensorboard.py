"""Events are read by TensorBoard as written, at once, and only once."""

import math
import os

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from recsys_po_rl.run_folder import tensorboard


def read(folder):
    accumulator = EventAccumulator(str(folder / tensorboard.FOLDER), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder, name):
    """Sorted: files that two writers of one process made in the same second have no order in time."""
    found = read(folder).Tensors(name)
    return sorted((event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in found)


def files(folder):
    return sorted(os.listdir(folder / tensorboard.FOLDER))


def test_scalars_are_visible_before_the_file_is_closed(tmp_path):
    writer = tensorboard.EventWriter(str(tmp_path))
    for step in (1, 2, 3):
        writer.scalars(step, {"train/reward": 10.0 * step, "time/step_seconds": 0.25})
        assert scalars(tmp_path, "train/reward") == [(done, 10.0 * done) for done in range(1, step + 1)]
    writer.close()
    assert read(tmp_path).Tags()["tensors"] == ["train/reward", "time/step_seconds"]


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    writer = tensorboard.EventWriter(str(tmp_path))
    writer.scalars(1, {"train/reward": 1.0, "train/explained_variance": math.nan, "train/gradient_norm": math.inf})
    writer.close()
    assert read(tmp_path).Tags()["tensors"] == ["train/reward"]


def test_hyperparameters_are_there_once(tmp_path):
    writer = tensorboard.EventWriter(str(tmp_path))
    writer.hyperparameters({"seed": 3, "learning_rate": 0.5, "optimizer": "Adam", "greedy": False})
    writer.close()
    tags = read(tmp_path).PluginTagToContent("hparams")
    assert list(tags) == ["_hparams_/session_start_info"]
    told = plugin_data_pb2.HParamsPluginData.FromString(tags["_hparams_/session_start_info"]).session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in told.items()} == {
        "seed": 3, "learning_rate": 0.5, "optimizer": "Adam", "greedy": False,
    }  # fmt: skip


def test_texts_are_read_back(tmp_path):
    writer = tensorboard.EventWriter(str(tmp_path))
    writer.text(4, "alarms/entropy_low", "the entropy fell")
    writer.close()
    (event,) = read(tmp_path).Tensors("alarms/entropy_low")
    assert (event.step, tensor_util.make_ndarray(event.tensor_proto).item()) == (4, b"the entropy fell")


def interrupted(folder, num_steps=5):
    writer = tensorboard.EventWriter(str(folder))
    writer.hyperparameters({"seed": 3})
    for step in range(1, num_steps + 1):
        writer.scalars(step, {"train/reward": float(step)})
    writer.close()


def test_steps_after_the_checkpoint_are_not_there_twice(tmp_path):
    interrupted(tmp_path)
    before = {event.step: event.wall_time for event in read(tmp_path).Tensors("train/reward")}
    writer = tensorboard.EventWriter(str(tmp_path), after_step=3)
    for step in (4, 5, 6):
        writer.scalars(step, {"train/reward": 100.0 + step})
    writer.close()
    assert scalars(tmp_path, "train/reward") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 104.0), (5, 105.0), (6, 106.0)]
    kept = {event.step: event.wall_time for event in read(tmp_path).Tensors("train/reward")}
    assert [kept[step] for step in (1, 2, 3)] == [before[step] for step in (1, 2, 3)]
    assert list(read(tmp_path).PluginTagToContent("hparams")) == ["_hparams_/session_start_info"]
    assert len(files(tmp_path)) == 2


def test_a_run_that_starts_anew_keeps_no_events(tmp_path):
    interrupted(tmp_path)
    (tmp_path / tensorboard.FOLDER / "notes.txt").write_text("of others")
    tensorboard.EventWriter(str(tmp_path)).close()
    assert "train/reward" not in read(tmp_path).Tags()["tensors"]
    assert "notes.txt" in files(tmp_path)


@pytest.mark.parametrize("lost_bytes", [1, 4, 20, 43])
def test_half_a_record_of_a_killed_run_is_cut_off(tmp_path, lost_bytes):
    interrupted(tmp_path)
    (name,) = files(tmp_path)
    path = tmp_path / tensorboard.FOLDER / name
    path.write_bytes(path.read_bytes()[:-lost_bytes])
    writer = tensorboard.EventWriter(str(tmp_path), after_step=4)
    writer.scalars(5, {"train/reward": 5.0})
    writer.close()
    assert scalars(tmp_path, "train/reward") == [(step, float(step)) for step in range(1, 6)]
    assert all(".tfevents." in name for name in files(tmp_path))


def test_a_failure_while_cutting_keeps_the_file(tmp_path, monkeypatch):
    interrupted(tmp_path)
    (name,) = files(tmp_path)
    content = (tmp_path / tensorboard.FOLDER / name).read_bytes()

    def fail(*args):
        raise OSError("disk")

    with monkeypatch.context() as patched:
        patched.setattr(tensorboard.os, "replace", fail)
        with pytest.raises(OSError, match="disk"):
            tensorboard.cut(str(tmp_path / tensorboard.FOLDER), 3)
    assert files(tmp_path) == [name]
    assert (tmp_path / tensorboard.FOLDER / name).read_bytes() == content
