"""Records of JSON files: what may be missing, what is refused, what is kept."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

import pytest

from recsys_po_rl.common import records, validation
from recsys_po_rl.common.records import Bounds, Count, Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf(Record):
    label: str
    value: Optional[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree(Record):
    count: Count
    leaves: Mapping[str, Leaf] = dataclasses.field(default_factory=dict)
    bounds: Optional[Bounds] = None
    children: Optional[list["Tree"]] = None
    grown: Optional[bool] = None
    note: Any = None


CONTENT = {
    "count": 3,
    "leaves": {"a": {"label": "x", "value": None, "colour": "red"}, "b": {"label": "y", "value": 2}},
    "bounds": [None, 1.5],
    "children": [{"count": 1, "leaves": {}, "later": [{}]}],
    "grown": False,
    "note": {"any": [1, "thing"]},
}


def test_content_is_read_and_written_unchanged():
    tree = Tree.from_json(CONTENT, "")
    assert tree.leaves["a"] == Leaf(label="x", value=None, others={"colour": "red"})
    assert tree.children == [Tree(count=1, others={"later": [{}]})]
    assert tree.to_json() == CONTENT
    assert list(tree.to_json()) == list(CONTENT)


def test_fields_with_a_default_may_be_missing_and_none_is_not_written():
    tree = Tree.from_json({"count": 3}, "")
    assert tree == Tree(count=3)
    assert tree.to_json() == {"count": 3, "leaves": {}}
    assert Leaf(label="x", value=None).to_json() == {"label": "x", "value": None}
    assert Tree(count=1, note=(1, (2,))).to_json()["note"] == [1, [2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, f"f: count must be an integer between 1 and {records.MAX_COUNT}, got 0"),
        ({"count": True}, f"f: count must be an integer between 1 and {records.MAX_COUNT}, got True"),
        ({"leaves": [1]}, "f: leaves must be an object, got [1]"),
        ({"leaves": {"a": 1}}, "f: leaves.'a' must be an object, got 1"),
        ({"leaves": {"a": {"label": 1}}}, "f: leaves.'a' must be an object with label, value, got {'label': 1}"),
        ({"leaves": {"a": {"label": 1, "value": 2}}}, "f: leaves.'a'.label must be a text, got 1"),
        ({"leaves": {"a": {"label": "", "value": True}}}, "f: leaves.'a'.value must be a finite number, got True"),
        ({"bounds": [1.0]}, "f: bounds must be a pair of numbers, got [1.0]"),
        ({"bounds": ["1", 2]}, "f: bounds must be a finite number, got '1'"),
        ({"bounds": [2.0, 1.0]}, "f: bounds must be a pair of numbers in order, got [2.0, 1.0]"),
        ({"children": {}}, "f: children must be a list, got {}"),
        ({"children": [{"count": 1}, {}]}, "f: children[1] must be an object with count, got {}"),
        ({"grown": 1}, "f: grown must be true or false, got 1"),
    ],
)
def test_another_form_is_refused_in_one_line(change, message):
    with pytest.raises(validation.InvalidInputError) as raised:
        Tree.from_json({**CONTENT, **change}, "f: ")
    assert str(raised.value) == message


def test_what_is_no_object_is_refused():
    with pytest.raises(validation.InvalidInputError, match=r"^tree must be an object, got \[\]$"):
        Tree.from_json([], "tree.")
