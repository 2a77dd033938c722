"""Reading gin text as text."""

import pytest

from recsys_po_rl import gin_text
from recsys_po_rl.common import validation


def test_bindings_are_read_as_they_are_written():
    text = """
# A comment.
import something.that.does.not.exist
a.b.size = 3  # with a unit
scope/a.b.names = ['x',
    'y']
a.b.made = @c.d()
a.b.ctor = @scope/c.d
a.b.number = %LARGE
LARGE = 1e3
a.b:
  in_a_block = None
a.b.size = 4
"""
    assert gin_text.bindings(text) == {
        "a.b.size": "4",
        "scope/a.b.names": "['x', 'y']",
        "a.b.made": "@c.d()",
        "a.b.ctor": "@scope/c.d",
        "a.b.number": "%LARGE",
        "LARGE.macro": "1000.0",
        "a.b.in_a_block": "None",
    }


def test_included_files_come_before_what_follows(tmp_path):
    (tmp_path / "base.gin").write_text("a.b.x = 1\na.b.y = 1\n")
    assert gin_text.bindings("include 'base.gin'\na.b.x = 2", [str(tmp_path)]) == {"a.b.x": "2", "a.b.y": "1"}


def test_the_default_experiment_can_be_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.gin").write_text("a.b.foreign = 1\n")  # the shipped one is meant
    found = gin_text.shipped_bindings("experiments/default.gin")
    assert found["recsys_po_rl.experiment.horizon"] == "100"
    assert "a.b.foreign" not in found


@pytest.mark.parametrize(
    "text", ["a.b.c = ", "no statement", "a.b.c = [1", "a.b.c = __import__('os')", "\x00", "include 'nowhere.gin'"]
)
def test_what_is_no_gin_text_is_one_line(text):
    with pytest.raises(validation.InvalidInputError, match=r"not gin text|no gin file") as caught:
        gin_text.bindings(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_includes_itself_ends(tmp_path):
    (tmp_path / "round.gin").write_text("include 'round.gin'\n")
    with pytest.raises(validation.InvalidInputError, match="not gin text"):
        gin_text.bindings("include 'round.gin'", [str(tmp_path)])
