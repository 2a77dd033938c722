"""The examples of docs/doors.md run as they stand."""

import re

import pytest

SECTIONS = ["Your own policy in the table", "Gymnasium", "The simulation step by step"]
EXPECTED = {
    "Your own policy in the table": r"external_policy: \d+\.\d\d \[.*\], \+0\.00 to newest\nuniform_random",
    "Gymnasium": r"\(4,\) \[",
    "The simulation step by step": r"0 \[.*\] \[",
}


def python_of(text, section):
    """Return the Python example of a section."""
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
    return code


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_prints_what_it_promises(root, capsys, section):
    code = python_of((root / "docs" / "doors.md").read_text(encoding="utf-8"), section)
    exec(compile(code, "doors.md", "exec"), {})
    assert re.search(EXPECTED[section], capsys.readouterr().out)


def test_the_examples_are_all_tried(root):
    text = (root / "docs" / "doors.md").read_text(encoding="utf-8")
    assert text.count("```python") == len(SECTIONS) + 1  # the catalogue's is run by tests/test_table_corpus.py
