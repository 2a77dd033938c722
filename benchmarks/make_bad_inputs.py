"""Writes benchmarks/results/BAD_INPUTS.md: everything bad that the tests hand in, and the line that answers it.

PYTHONPATH=. python benchmarks/make_bad_inputs.py
"""

import contextlib
import io
import pathlib
import shutil
import tempfile

import recsys_po_rl
from recsys_po_rl.experiment import single_seed
from tests import test_bad_inputs as tests
from tests.support import bad_calls, bad_inputs

INTRODUCTION = """# Bad inputs

{count} inputs that a user could hand in by mistake, and what is said of each. On the command line that is one line on
standard error and exit status 2, before anything is written; of a library call it is the line of an exception.
Written by `PYTHONPATH=. python benchmarks/make_bad_inputs.py` from the tables that `tests/test_bad_inputs.py` tries.
Bindings come on top of `experiments/default.gin` and `overlays/tiny.gin`.
"""


def accepted(*args, **kwargs):
    """In place of a training."""
    raise AssertionError("it was accepted")


def sections(folder: pathlib.Path) -> dict[str, list[str]]:
    """Rows by heading."""
    by_heading = {"Flags": [tests.row(bad.shown, tests.refusal(bad.arguments)) for bad in bad_inputs.FLAGS]}
    whole = folder / "whole"
    status, _, err = tests.outcome([*bad_inputs.RUN, "--output_dir", str(whole)])
    assert status == 0, err
    single_seed.loop.train = accepted
    new = str(folder / "run")
    by_heading["Gin bindings"] = [
        tests.row(bad.shown, tests.refusal([*bad.arguments, "--output_dir", new]), folder) for bad in tests.BINDINGS
    ]
    by_heading["Gin files that hold"] = []
    for shown, content, _ in bad_inputs.GIN_FILES:
        file = folder / "bad.gin"
        file.write_bytes(content.replace(b"FILE", str(file).encode()))
        flags = [*bad_inputs.TINY, "--gin_files", str(file), "--output_dir", new]
        by_heading["Gin files that hold"].append(tests.row(shown, tests.refusal(flags), folder))
    by_heading["Run folders"] = []
    for bad in [*bad_inputs.RUNS, *bad_inputs.POLICIES]:
        place = {name: folder / name for name in ("run", "other", "new")}
        for name in ("run", "other"):
            shutil.rmtree(place[name], ignore_errors=True)
            shutil.copytree(whole, place[name])
        bad.change(place["run"])
        arguments = [argument.format(**place) if "{" in argument else argument for argument in bad.arguments]
        line = policy_error(arguments[0]) if bad in bad_inputs.POLICIES else tests.refusal(arguments)
        by_heading["Run folders"].append(tests.row(bad.shown, line, folder))
    names = bad_calls.names()
    for group, cases in bad_calls.GROUPS.items():
        by_heading[group] = [tests.row(call, tests.matching_line(says, error_of(call, names))) for call, says in cases]
    return by_heading


def policy_error(folder: str) -> str:
    """Return the message with which `load_policy` refuses a folder."""
    try:
        recsys_po_rl.load_policy(folder)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{folder} was accepted")


def error_of(call: str, names: dict[str, object]) -> str:
    """Return the message of a call's exception."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            eval(call, names)
        except Exception as error:
            return str(error)
    raise AssertionError(f"{call} was accepted")


def main() -> None:
    """Writes the page."""
    with tempfile.TemporaryDirectory() as folder:
        by_heading = sections(pathlib.Path(folder))
    parts = [INTRODUCTION.format(count=sum(map(len, by_heading.values())))]
    for heading, rows in by_heading.items():
        parts.append("\n".join([f"## {heading}", "", "| input | answer |", "| --- | --- |", *rows, ""]))
    tests.PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
