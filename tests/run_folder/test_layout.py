import datetime
import json
import math
import os
import sys
import types

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import layout
from recsys_po_rl.version import __version__

# free_path


def test_a_new_folder_is_free_and_is_not_made_yet(tmp_path):
    wanted = str(tmp_path / "deep" / "run")
    assert layout.free_path(wanted) == wanted
    assert list(tmp_path.iterdir()) == []


def test_a_path_object_comes_back_as_text(tmp_path):
    assert layout.free_path(tmp_path / "run") == str(tmp_path / "run")


def test_a_relative_folder_is_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert layout.free_path("run") == "run"


def test_an_existing_empty_folder_is_free(tmp_path):
    assert layout.free_path(str(tmp_path)) == str(tmp_path)


def test_a_folder_with_files_of_others_is_free(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert layout.free_path(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    "name",
    [layout.METRICS, layout.CONFIG, layout.EVALUATION, layout.ENVIRONMENT, "checkpoints", "tensorboard", "seed_0"],
)
def test_a_folder_that_holds_a_run_is_refused(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(validation.InvalidInputError) as error:
        layout.free_path(str(tmp_path))
    assert str(error.value) == f"output_dir {str(tmp_path)!r} already holds a run ({name}): choose another"


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(validation.InvalidInputError, match=r"^output_dir .*file' is a file, a folder is needed$"):
        layout.free_path(str(tmp_path / "file"))


# A folder without write permission would not do: the superuser may write there all the same.
@pytest.mark.parametrize("below", ["run", os.path.join("deep", "run")])
def test_a_folder_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(validation.InvalidInputError, match=r"^output_dir .* cannot be made: .*file' is not writable$"):
        layout.free_path(str(tmp_path / "file" / below))


def test_a_folder_without_write_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(layout.os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(validation.InvalidInputError, match=r"is not writable$"):
        layout.free_path(str(tmp_path / "run"))


@pytest.mark.parametrize("output_dir", [3, b"run", ["run"]])
def test_what_is_no_path_is_refused(output_dir):
    with pytest.raises(validation.InvalidTypeError, match=r"^output_dir must be a path, got "):
        layout.free_path(output_dir)


def test_time_stamped_folders_never_collide(tmp_path, monkeypatch):
    class StoppedClock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 2, 3, 4, 5, 6, tzinfo=tz)

    monkeypatch.setattr(layout, "datetime", types.SimpleNamespace(datetime=StoppedClock))
    names = []
    for _ in range(4):
        folder = layout.free_path(None, under=str(tmp_path))
        assert not os.path.exists(folder)
        os.makedirs(folder)
        names.append(os.path.relpath(folder, tmp_path))
    assert names == ["20310203-040506", "20310203-040506-2", "20310203-040506-3", "20310203-040506-4"]


def test_time_stamped_folders_go_below_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert os.path.dirname(layout.free_path(None)) == "runs"


# write_text


def test_write_text_replaces_the_file(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    layout.write_text(str(folder), "note.txt", "old, and longer than what follows\n")
    layout.write_text(str(folder), "note.txt", "new ü\n")
    assert (folder / "note.txt").read_bytes() == "new ü\n".encode()
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


def test_a_failure_while_writing_keeps_the_old_content_and_leaves_no_temporary_file(tmp_path):
    layout.write_text(str(tmp_path), "note.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        layout.write_text(str(tmp_path), "note.txt", "new" * 10_000 + "\ud800")  # a lone surrogate has no UTF-8
    assert (tmp_path / "note.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error_type", [OSError, KeyboardInterrupt])
def test_a_failure_after_writing_keeps_the_old_content_and_leaves_no_temporary_file(
    tmp_path, monkeypatch, step, error_type
):
    layout.write_text(str(tmp_path), "note.txt", "old")

    def fail(*args, **options):
        raise error_type(step)

    with monkeypatch.context() as patched:
        patched.setattr(layout.os, step, fail)
        with pytest.raises(error_type, match=step):
            layout.write_text(str(tmp_path), "note.txt", "new")
    assert (tmp_path / "note.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(("umask", "permissions"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, permissions):
    before = os.umask(umask)
    try:
        layout.write_text(str(tmp_path), "note.txt", "text")
        assert os.umask(umask) == umask  # and the umask is what it was
    finally:
        os.umask(before)
    assert (tmp_path / "note.txt").stat().st_mode & 0o777 == permissions


# write_json


def test_write_json_turns_infinite_and_undefined_numbers_into_null(tmp_path):
    content = {
        "low": -math.inf,
        "deep": {"numbers": [1.5, math.nan, (math.inf, 2)], "numpy": np.float64("nan")},
        "text": "nan",
        "flag": True,
        "nothing": None,
    }
    layout.write_json(str(tmp_path), "evaluation.json", content)
    text = (tmp_path / "evaluation.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "low": None,
        "deep": {"numbers": [1.5, None, [None, 2]], "numpy": None},
        "text": "nan",
        "flag": True,
        "nothing": None,
    }


def test_write_json_keeps_every_digit(tmp_path):
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2**60 + 1]
    layout.write_json(str(tmp_path), "numbers.json", numbers)
    assert json.loads((tmp_path / "numbers.json").read_text()) == numbers


def test_write_json_of_what_json_has_not_keeps_the_old_file(tmp_path):
    layout.write_json(str(tmp_path), "numbers.json", [1])
    with pytest.raises(TypeError):
        layout.write_json(str(tmp_path), "numbers.json", [object()])
    assert json.loads((tmp_path / "numbers.json").read_text()) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]


# environment


def test_environment_tells_versions_seeds_machine_command_and_time(tmp_path):
    before = datetime.datetime.now().astimezone().replace(microsecond=0)
    environment = layout.environment((3, 4)).to_json()
    assert list(environment) == ["run", "versions", "seeds", "machine", "command", "started"]
    assert environment["run"] != layout.environment((3, 4)).run
    assert environment["seeds"] == [3, 4]
    assert environment["command"] == sys.argv
    assert set(environment["machine"]) == {"platform", "processor", "cpu_count"}
    assert environment["machine"]["cpu_count"] == os.cpu_count()
    versions = environment["versions"]
    assert versions["recsys-po-rl"] == __version__
    assert versions["numpy"] == np.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"tensorflow", "tf_keras", "tensorflow-probability", "edward2", "recsim-ng", "gin-config", "gym"} < set(
        versions
    )
    assert "unknown" not in versions.values()
    started = datetime.datetime.fromisoformat(environment["started"])
    assert before <= started <= datetime.datetime.now().astimezone()
    layout.write_json(str(tmp_path), layout.ENVIRONMENT, environment)
    assert json.loads((tmp_path / layout.ENVIRONMENT).read_text()) == environment
    assert layout.read_environment(str(tmp_path)).to_json() == environment


@pytest.mark.parametrize(
    ("changed", "is_readable"),
    [
        ({"machine": {"platform": 3}}, True),
        ({"machine": 3, "command": "run", "started": 7, "finished": [], "files": {}}, True),
        ({"run": 3}, False),
        ({"seeds": ["1"]}, False),
        ({"table": 5}, False),
        ({"arguments": [1]}, False),
        ({"versions": {"numpy": 2}}, False),
        ({"corpus_seed": -1}, False),
    ],
)
def test_descriptive_fields_of_another_form_leave_an_environment_readable(tmp_path, changed, is_readable):
    right = {**layout.environment([3]).to_json(), "finished": "2026-01-01T00:00:00+00:00", "files": ["a"], "mine": 1}
    layout.write_json(str(tmp_path), layout.ENVIRONMENT, {**right, **changed})
    environment = layout.read_environment(str(tmp_path))
    expected = {name: value for name, value in right.items() if name not in changed}
    assert (environment and environment.to_json()) == (expected if is_readable else None)
    assert not layout.is_finished(str(tmp_path))


def test_an_environment_that_is_no_object_is_none(tmp_path):
    assert layout.read_environment(str(tmp_path)) is None
    (tmp_path / layout.ENVIRONMENT).write_text("[]", encoding="utf-8")
    assert layout.read_environment(str(tmp_path)) is None


def test_environment_names_packages_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(layout, "_PACKAGES", ("numpy", "no-package-of-this-name"))
    versions = layout.environment(()).versions
    assert versions["no-package-of-this-name"] == "unknown"
    assert versions["numpy"] == np.__version__


def test_two_runs_that_start_in_the_same_second_get_two_folders(tmp_path, monkeypatch):
    folders = [layout.create(None, under=str(tmp_path / "runs")) for _ in range(3)]
    assert len(set(folders)) == 3
    # Another process takes the folder between the look and the making of it.
    real, taken = layout.free_path, []

    def overtaken(output_dir, under="runs"):
        path = real(output_dir, under)
        if not taken:
            taken.append(path)
            os.makedirs(path)
        return path

    monkeypatch.setattr(layout, "free_path", overtaken)
    assert layout.create(None, under=str(tmp_path / "runs")) not in taken


def test_an_empty_path_is_refused():
    with pytest.raises(validation.InvalidInputError, match="output_dir must be a path, got ''"):
        layout.free_path("")
