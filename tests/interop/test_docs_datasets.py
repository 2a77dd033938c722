"""The example of docs/datasets.md, executed, and its table of columns."""

import re

import pytest

from recsys_po_rl.logs.interactions import COLUMNS


@pytest.fixture
def page(root):
    return (root / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_promises(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(block, "datasets.md", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
    assert len(promised) == 3
    assert capsys.readouterr().out.splitlines() == promised


def test_the_table_of_columns_is_complete(page):
    rows = re.findall(r"^\| `(\w+)` \|", page.split("## Columns")[1], re.MULTILINE)
    assert rows == list(COLUMNS)
