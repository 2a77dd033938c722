"""Labels of items and users."""

import numpy as np
import pandas as pd
import pytest

from recsys_po_rl.common.validation import InvalidInputError, InvalidTypeError
from recsys_po_rl.logs import id_tables, reading
from recsys_po_rl.logs.columns import ColumnMap

ITEMS = ColumnMap(
    user_id=None, step=None, slot=None, item_id="item", clicked=None, consumed_time=None, item_table="first_appearance"
)


def opened(tmp_path, items, suffix=".csv", **options):
    path = tmp_path / f"log{suffix}"
    frame = pd.DataFrame({"item": items})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return reading.open_interactions(path, ITEMS, **options)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("07", "07"),
        (" a b ", "a b"),
        ("-3", -3),
        ("9223372036854775807", 2**63 - 1),
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), str(2**64)),
        (np.int64(5), 5),
        ("", None),
        ("  ", None),
        ("a\0b", None),
        ("a\nb", None),
        ("a" * 201, None),
        (2**64, None),
        (True, None),
        (1.0, None),
        (None, None),
    ],
)
def test_an_id_is_one_label_wherever_it_comes_from(value, expected):
    label = id_tables.label_of(value)
    assert label == expected
    assert type(label) is type(expected)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("given", [["x", "7", "07", str(2**63 - 1)], ["x", 7, " 07", 2**63 - 1]])
def test_items_are_those_of_a_catalogue_of_texts(tmp_path, suffix, given):
    log = opened(tmp_path, ["07", "7", "x", " x", "9223372036854775807"], suffix, item_ids=given)
    assert log.load().item_id.tolist() == [3, 2, 1, 1, 4]
    assert log.item_ids == given


def test_ids_of_arrays(tmp_path):
    assert opened(tmp_path, [5, 3], item_ids=np.array([3, 5])).load().item_id.tolist() == [2, 1]
    assert opened(tmp_path, [5, 3], item_ids=np.array(["3", "5"])).load().item_id.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("item_ids", "error", "message"),
    [
        ([], InvalidInputError, "item_ids must have at least one id"),
        ([1, "1"], InvalidInputError, "item_ids must be different, 1 stands twice"),
        (["a", "a "], InvalidInputError, "item_ids must be different, 'a' stands twice"),
        ([1.5], InvalidTypeError, "number 0 is 1.5"),
        (["a", True], InvalidTypeError, "each must be an integer of 64 bits or a text .*, number 1 is True"),
        ("abc", InvalidTypeError, "must be a sequence of integers and texts, got 'abc'"),
        ({1: 2}, InvalidTypeError, "must be a sequence"),
    ],
)
def test_given_ids_are_validated(tmp_path, item_ids, error, message):
    with pytest.raises(error, match=message):
        opened(tmp_path, [1], item_ids=item_ids)


def test_labels_with_control_characters_are_wrong(tmp_path):
    log = opened(tmp_path, ["a", "b\0", "c"], ".parquet", max_invalid_share=0.5)
    assert log.item_ids == ["a", "c"]
    assert log.invalid_counts == {"wrong type of item_id": 1}


def test_a_numbering_keeps_noted_labels_in_order_of_appearance():
    numbering = id_tables.Numbering(id_tables.IdTable(["d", 9, "b", "a", 10]))
    numbering.note(np.array([3, 1, 4, 1]), np.array([1, 0, 0, 0], np.int32), np.array([1, 5, 3, 2]))
    numbering.keep_noted()
    assert numbering.labels == [9, 10, "a"]
    assert numbering.final(np.array([0, 1, 2, 3, 4])).tolist() == [-1, 0, -1, 2, 1]
    numbering.sort()
    assert numbering.labels == [9, 10, "a"]
    numbering = id_tables.Numbering(id_tables.IdTable(["d", 9, "b"]))
    numbering.sort()
    assert numbering.labels == [9, "b", "d"]
    assert numbering.final(np.array([0, 1, 2])).tolist() == [2, 0, 1]
