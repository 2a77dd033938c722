"""Examples of docs/logs.md, executed."""

import pathlib
import re

import numpy as np
import pytest

from recsys_po_rl.logs import reading

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "logs.md"


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Names that the examples define, by example."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    defined = [{} for _ in blocks]
    for block, own in zip(blocks, defined):
        exec(block, own)
    return defined


def test_the_examples_of_the_page_run(names, tmp_path):
    first, maps = names[0], names[1]
    assert first["log"].num_rows == 12
    np.testing.assert_array_equal(reading.load_interactions(tmp_path / "log.parquet").item_id, first["log"].item_id)
    assert reading.read_metadata(tmp_path / "log.parquet") == {"origin": "an example"}
    assert [maps["opened"].item_ids[i - 1] for i in maps["log"].item_id] == [31, 1029]


def test_the_table_of_columns_is_complete():
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+)", text.split("## Write")[0], re.MULTILINE)
    from recsys_po_rl.logs.interactions import COLUMNS

    assert dict(rows) == {name: str(dtype).replace("object", "text") for name, dtype in COLUMNS.items()}
