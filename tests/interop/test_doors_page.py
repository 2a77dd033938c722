"""The examples of docs/doors.md run as they stand."""

import re

import gin
import numpy as np
import pytest

import recsys_po_rl
from recsys_po_rl import policies

SECTIONS = ["Your own policy in the table", "Gymnasium", "The simulation step by step"]
EXPECTED = {
    "Your own policy in the table": r"external_policy: \d+\.\d\d \[.*\], \+0\.00 to pair\nuniform_random",
    "Gymnasium": r"\(4,\) \[",
    "The simulation step by step": r"0 \[.*\] \[",
}


def python_of(text, section, place=0):
    """Return a Python example of a section."""
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)[place]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_prints_what_it_promises(root, capsys, section):
    code = python_of((root / "docs" / "doors.md").read_text(encoding="utf-8"), section)
    exec(compile(code, "doors.md", "exec"), {})
    assert re.search(EXPECTED[section], capsys.readouterr().out)


@pytest.mark.slow
def test_the_policy_with_a_state_of_its_own_shows_what_was_consumed_longest(root):
    code = python_of((root / "docs" / "doors.md").read_text(encoding="utf-8"), SECTIONS[0], place=1)
    module = {"__name__": "doors_page"}
    exec(compile(code, "doors.md", "exec"), module)
    agent = module["Repeater"]()
    agent.reset(2)
    first = {"doc_history": np.array([[0, 0], [0, 0]]), "consumed_time": np.zeros((2, 1))}
    assert agent.act(first).tolist() == [[0, 1], [0, 1]]
    second = {"doc_history": np.array([[0, 7], [0, 9]]), "consumed_time": np.array([[1.5], [0.5]])}
    assert agent.act(second).tolist() == [[6, 2], [8, 2]]
    assert gin.get_configurable("doors_page.Repeater")
    small = ["recsys_po_rl.experiment.horizon = 3", "recsys_po_rl.experiment.evaluation_batch_size = 8",
             "recsys_po_rl.SeededRuntime.mode = 'eager'"]  # fmt: skip
    evaluations = recsys_po_rl.evaluate_policy(
        module["Repeater"], num_users=8, gin_bindings=small, policies=[policies.UniformRandom]
    )
    assert list(evaluations) == ["external_policy", "uniform_random"]


def test_the_examples_are_all_tried(root):
    text = (root / "docs" / "doors.md").read_text(encoding="utf-8")
    assert text.count("```python") == len(SECTIONS) + 2  # the catalogue's is run by tests/test_table_corpus.py
