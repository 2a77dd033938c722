"""Search path of included gin files, by the parser and by the reader of texts alike."""

import os

import pytest

from recsys_po_rl import gin_config, gin_text
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment  # noqa: F401  (registers what the shipped files bind)
from recsys_po_rl.training.schedules import Linear

END, UNTIL = "recsys_po_rl.Linear.end", "recsys_po_rl.Linear.until"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory, and beside it a folder of gin files."""
    for name in ("here", "files", "files/deep"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def both(path):
    """Bindings of a file that is parsed, and of the same file read as text."""
    gin_config.parse([path], [])
    parsed = {name: value for name, value in gin_text.bindings(gin_config.config_text()).items() if "Linear" in name}
    return parsed, gin_text.file_bindings(path, ["", gin_config.configs_dir()])


def test_an_include_is_looked_for_beside_the_including_file_and_so_is_its_own(place):
    write(place / "files" / "deep" / "own.gin", f"{UNTIL} = 0.75")
    write(place / "files" / "deep" / "base.gin.part", "include 'own.gin'", f"{END} = 0.25")
    path = write(place / "files" / "top [1].gin", "include 'deep/base.gin.part'")
    parsed, read = both(path)
    assert parsed == read == {END: "0.25", UNTIL: "0.75"}


@pytest.mark.parametrize("where", ["here", "files"])
def test_the_working_directory_comes_before_the_folder_of_the_including_file(place, where):
    write(place / "files" / "part.gin", f"{END} = 0.25")
    write(place / where / "part.gin", f"{END} = 0.5")
    path = write(place / "files" / "top.gin", "include 'part.gin'")
    parsed, read = both(path)
    assert parsed == read == {END: "0.5"}


def test_the_shipped_files_come_before_the_folder_of_the_including_file(place):
    (place / "files" / "overlays").mkdir()
    write(place / "files" / "overlays" / "tiny.gin", f"{END} = 0.25")
    path = write(place / "files" / "top.gin", "include 'overlays/tiny.gin'")
    parsed, _ = both(path)
    assert parsed == {}
    assert "recsys_po_rl.experiment.num_training_steps" in gin_config.config_text()


def test_lines_and_includes_count_in_their_order(place):
    write(place / "files" / "part.gin", f"{END} = 0.25", f"{UNTIL} = 0.25")
    path = write(
        place / "files" / "top.gin",
        f"{END} = 0.125",
        "include \\",
        "  'part.gin'  # a comment",
        "# another",
        "recsys_po_rl.Linear:",
        "  until = \\",
        "    0.75",
        "include 'part.gin'",
        f"{UNTIL} = 0.5",
    )
    parsed, read = both(path)
    assert parsed == read == {END: "0.25", UNTIL: "0.5"}
    assert Linear()(0.5) == 0.25


def test_imports_before_an_include_hold_after_it(place):
    """With gin's dynamic registration, names are those that the file's own imports define."""
    write(place / "files" / "part.gin", f"{END} = 0.25")
    path = write(
        place / "files" / "top.gin",
        "from __gin__ import dynamic_registration",
        "import collections",
        "include 'part.gin'",
        "collections.Counter.iterable = 'aab'",
    )
    gin_config.parse([path], [])
    assert "Counter.iterable = 'aab'" in gin_config.config_text()


def test_an_error_behind_an_include_names_its_own_line(place):
    write(place / "files" / "part.gin", f"{END} = 0.25")
    path = write(place / "files" / "top.gin", "# a comment", "include 'part.gin'", "", "recsys_po_rl.Linear.endd = 1")
    with pytest.raises(validation.InvalidInputError, match=r"did you mean end\?") as caught:
        gin_config.parse([path], [])
    assert "\n" not in str(caught.value)
    with pytest.raises(validation.InvalidInputError, match=r"top\.gin.*line 4"):
        gin_config.parse([write(place / "files" / "top.gin", "", "include 'part.gin'", "", "prose")], [])


@pytest.mark.parametrize("binding", [False, True])
def test_a_missing_include_says_where_it_was_looked_for(place, binding):
    path = write(place / "files" / "top.gin", "include 'deep/none.gin'")
    beside = "" if binding else " or beside 'top.gin', which includes it"
    message = rf"^no gin file 'deep/none.gin' here or in configs/{beside}( \(did you mean .*\?\))?$"
    with pytest.raises(validation.InvalidInputError, match=message):
        gin_config.parse(*(([], ["include 'deep/none.gin'"]) if binding else ([path], [])))
    if not binding:
        with pytest.raises(validation.InvalidInputError, match=message):
            gin_text.file_bindings(path, ["", gin_config.configs_dir()])


def test_files_that_include_one_another_are_refused(place):
    write(place / "files" / "one.gin", "include 'two.gin'")
    write(place / "files" / "two.gin", "include 'one.gin'")
    os.symlink(place / "files" / "one.gin", place / "here" / "one.gin")
    with pytest.raises(validation.InvalidInputError, match="include one another in a circle"):
        gin_config.parse([str(place / "files" / "one.gin")], [])


def test_one_file_can_be_included_twice(place):
    write(place / "files" / "part.gin", f"{END} = 0.25")
    path = write(place / "files" / "top.gin", "include 'part.gin'", "include 'part.gin'")
    assert both(path)[0] == {END: "0.25"}
