"""Lines that cannot be written, and the streams that refuse them."""

import ast
import contextlib
import io
import os
import pathlib
import subprocess
import sys
import types

import pytest

import recsys_po_rl
import run_simulation
from recsys_po_rl.common import output
from recsys_po_rl.experiment import console

PACKAGE = pathlib.Path(recsys_po_rl.__file__).parent
# Prints before the package can be imported; drops TensorFlow's start-up lines.
OWN_WAYS = ("output.py", "parser.py", "_compat.py")
ROW = types.SimpleNamespace(
    step=1, mean_reward=1.0, gradient_norm=1.0, entropy=1.0, user_steps_per_second=1.0, step_seconds=1.0
)


class Refusing(io.TextIOBase):
    """A stream that takes nothing."""

    encoding = "utf-8"

    def __init__(self, error):
        self._error = error

    def write(self, text):
        raise self._error

    def flush(self):
        raise self._error

    def isatty(self):
        return True


REFUSALS = [
    (OSError(28, "No space left on device"), False),
    (OSError(5, "Input/output error"), False),
    (ValueError("I/O operation on closed file."), False),
    (BrokenPipeError(32, "Broken pipe"), True),
]


@pytest.mark.slow
def test_only_one_module_prints():
    for path in PACKAGE.rglob("*.py"):
        if path.name in OWN_WAYS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name):
                assert node.id != "print", path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
                assert node.attr not in ("stdout", "stderr"), path


@pytest.mark.parametrize(("error", "written"), REFUSALS, ids=[type(error).__name__ for error, _ in REFUSALS])
def test_a_stream_that_refuses_stops_nothing(error, written, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing(error))
    monkeypatch.setattr(sys, "stderr", Refusing(error))
    assert output.say("a line") is written
    assert output.complain("a line") is written
    with contextlib.nullcontext() if written else pytest.raises(output.NotWrittenError, match="cannot be written"):
        output.deliver("a line")
    progress = console.TrainingProgress(num_steps=3, seed=0)  # with a bar: the stream is a terminal
    progress.update(ROW)
    progress.say("an alarm")
    progress.close()


def test_a_stream_that_is_not_there_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert not output.say("a line")
    assert not output.complain("a line")
    assert not output.is_terminal()
    progress = console.TrainingProgress(num_steps=3, seed=0)
    progress.update(ROW)
    progress.close()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", "gr\\xfc\\xdfe \\u2192 \\udcfc\n"),
        ("latin-1", "grüße \\u2192 \\udcfc\n"),
        ("utf-8", "grüße → \\udcfc\n"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(encoding, text, monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    assert output.say("grüße → \udcfc")
    assert content.getvalue().decode(encoding) == text


@pytest.mark.slow
def test_a_pipe_without_a_reader_is_left_for_good(tmp_path):
    """Its buffer would fail once more when Python ends: status 120, and a message."""
    code = (
        "from recsys_po_rl.common import output; [output.say('x' * 999) for _ in range(999)]; output.complain('done')"
    )
    ran = shell(f'"$PYTHON" -c "{code}" | head -1', tmp_path)
    assert (ran.statuses, ran.stderr) == ([0, 0], "done\n")


# Whole runs: the toy experiment behind the real command line.

TOY_PROGRAM = """
import sys
from recsys_po_rl.cli import modes, parser
from recsys_po_rl.common import output
from recsys_po_rl.experiment import experiment, run
from tests.support import toy_run
toy_run.make_evaluations_cheap(setattr)
run._show = lambda plan, result: output.say("\\n".join(["a row of the table"] * 9999))
toy = {**toy_run.TOY, "quiet": False}
modes.MODES["train_and_evaluate"] = lambda flags: experiment(seeds=(3,), output_dir=flags.output_dir, **toy)
if __name__ == "__main__":
    sys.exit(parser.main(sys.argv[1:], "toy"))
"""


def shell(line, folder, **environment):
    """Runs a pipeline in bash; returns the exit status of each command and both streams."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "PYTEST", "PYTHONIO"))}
    root = str(pathlib.Path(run_simulation.__file__).parent)
    ran = subprocess.run(
        ["bash", "-c", f'{line}\necho "${{PIPESTATUS[@]}}" > statuses'],
        cwd=folder,
        env={**clean, "PYTHONPATH": root, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    ran.statuses = [int(status) for status in (folder / "statuses").read_text().split()]
    return ran


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirection",
    ["2>&1 | head -1", "> /dev/full 2> /dev/full", ">&- 2>&- <&-", "| cat"],
)
def test_a_run_is_done_whatever_becomes_of_its_lines(redirection, tmp_path):
    (tmp_path / "toy.py").write_text(TOY_PROGRAM)
    ran = shell(f'"$PYTHON" toy.py --output_dir "grüße" {redirection}', tmp_path, PYTHONIOENCODING="ascii")
    assert ran.statuses[0] == 0, ran.stderr
    assert ran.stderr == ""
    assert '"finished"' in (tmp_path / "grüße" / "environment.json").read_text()
    for name in ("metrics.csv", "validation.csv", "gradient_variance.csv"):
        lines = (tmp_path / "grüße" / name).read_text().splitlines()
        assert lines[0].startswith("seed,step")
        assert all(line.startswith("3,") for line in lines[1:])  # and nothing that a library printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "door",
    ["run_simulation.py", pytest.param("-m recsys_po_rl", marks=pytest.mark.slow)],  # -m imports TensorFlow each time
)
def test_help_and_refusals_that_cannot_be_written_leave_an_exit_status(door, tmp_path, root):
    program = door if door.startswith("-m") else f'"{root / door}"'
    full = shell(f'"$PYTHON" {program} --help > /dev/full', tmp_path)
    assert full.statuses == [1]
    assert len(full.stderr.splitlines()) == 1
    assert full.stderr.endswith("error: standard output cannot be written: No space left on device\n")
    lines = [
        ("--no_such_flag 2> /dev/full", 2),
        ("--help | head -1", 0),
        ("--help >&-", 0),
        ("--help > /dev/full 2>&1", 1),
        ("--no_such_flag 2>&-", 2),
    ]
    for line, status in lines[:1] if door.startswith("-m") else lines:
        ran = shell(f'"$PYTHON" {program} {line}', tmp_path)
        assert (ran.statuses[0], ran.stderr) == (status, ""), line
