"""One reader for each format: a damaged file is one line, never a traceback, and never waited for."""

import json
import os
import socket
import zipfile

import numpy as np
import pytest

from recsys_po_rl import gin_text
from recsys_po_rl.common import regular_files, validation
from recsys_po_rl.run_folder import csv_tables, layout, per_user, readers, schema
from tests.support.run_folder import evaluation

READERS = {
    "json": readers.json_object,
    "csv": readers.table,
    "npz": lambda path: readers.arrays(path, ["a"]),
    "gin": regular_files.text,
    "rows": csv_tables.whole_rows,
    "cut": lambda path: csv_tables.cut(path, 3),
    "evaluation": schema.read,
}


def refused(read, *arguments):
    with pytest.raises(validation.InvalidInputError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) <= 700
    return message


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "make",
    [pipe, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero"), bound_socket],
    ids=["pipe", "folder", "device", "socket"],
)
def test_what_is_no_regular_file_is_refused_at_once(make, read, tmp_path):
    make(tmp_path / "file")
    assert "cannot be read: " in refused(read, str(tmp_path / "file"))


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 40)
    for read in READERS.values():
        assert "cannot be read: it has more than" in refused(read, str(tmp_path / "file"))


def test_a_file_whose_size_is_not_told_is_bounded_too():
    assert "more than 10 bytes" in refused(regular_files.content, "/proc/self/status", 10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "perhaps it was cut off"),
        (b"[1]", "no object on the top"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e400}', "is too large"),
        (b'{"a": ' + b"9" * 400 + b".0}", "is too large"),
        (b'{"a": ' + b"9" * 400 + b"}", "has 400 digits"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "has 100000 digits"),
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"' + b"a" * 5000 + b'": 1, "' + b"a" * 5000 + b'": 2}', "stands twice"),
        (b'{"a": ' * 50 + b"1" + b"}" * 50, "nests too deep"),
        (b'{"a": ' * 100_000, "nests too deep"),
        (b'{"a": "\xff"}', "is not utf-8"),
    ],
)
def test_json_of_another_kind_is_refused(content, said, tmp_path):
    (tmp_path / "file.json").write_bytes(content)
    assert said in refused(readers.json_object, str(tmp_path / "file.json"))
    assert layout.read_json(str(tmp_path), "file.json") is None


def test_json_that_this_project_writes_is_read(tmp_path):
    content = {"a": [1, -2.5, 1e-300, None, True], "b": {"\u00fc\ud800": 2**64}}
    layout.write_json(str(tmp_path), "file.json", content)
    assert readers.json_object(str(tmp_path / "file.json")) == content


@pytest.mark.parametrize(
    ("line", "said", "num_rows"),
    [
        (b"2," + b"7" * 200_000, "a cell has|field larger", 1),
        (b"2," + b"x" * 20_000, "a cell has 20000 characters", 1),
        (b"2,\xff", "is not utf-8", 1),
        (b"2,\0", "holds a NUL", 1),
        (b"2", "1 rows have not as many cells", 2),
    ],
)
def test_a_table_is_read_up_to_its_damage(line, said, num_rows, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"step,x\n1,0.5\n" + line + b"\n3,0.25\n4,")
    found = readers.table(str(path))
    assert [row["step"] for row in found.rows] == ["1", "3"][:num_rows]
    assert found.num_intact == 1
    assert len(found.problems) == 1
    assert any(part in found.problems[0] for part in said.split("|"))
    assert csv_tables.whole_rows(str(path)) == [{"step": "1", "x": "0.5"}]
    assert csv_tables.cut(str(path), 4) == ["step", "x"]
    assert path.read_bytes() == b"step,x\n1,0.5\n"


def test_a_step_of_thousands_of_digits_is_no_step(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"step,x\n1,0.5\n{'9' * 5000},0.25\n")
    assert [readers.step_in(row) for row in csv_tables.whole_rows(str(path))] == [1, None]
    csv_tables.cut(str(path), 4)
    assert path.read_text() == "step,x\n1,0.5\n"


def with_header(folder, header, values=bytes(8)):
    """A per_user.npz whose totals have a header of one's own."""
    np.savez(folder / per_user.FILE, policies=np.array(["learned"]))
    text = header.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(folder / per_user.FILE, "a") as archive:
        archive.writestr("totals.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1000000000000)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2L)",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 2)}",
        "(" * 100,
        "",
    ],
)
def test_a_header_that_does_not_fit_its_values_is_refused(header, tmp_path):
    with_header(tmp_path, header)
    assert "per_user.npz' cannot be read" in refused(per_user.load, str(tmp_path))


def test_a_header_of_ones_own_that_fits_is_read(tmp_path):
    with_header(tmp_path, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}")
    assert per_user.load(str(tmp_path))["learned"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({}, "no policies|need at least one array"),
        ({"learned": np.zeros(0)}, "no users"),
        ({"learned": np.array([np.nan])}, "no finite number"),
        ({"learned": np.array([np.inf])}, "no finite number"),
    ],
)
def test_totals_of_no_users_or_no_numbers_are_refused(totals, said, tmp_path):
    values = np.stack(list(totals.values())).astype(np.float32) if totals else np.zeros((0, 3), np.float32)
    np.savez(tmp_path / per_user.FILE, policies=np.array(list(totals), dtype=np.str_), totals=values)
    message = refused(per_user.load, str(tmp_path))
    assert any(part in message for part in said.split("|"))


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_ARRAYS_BYTES", 10_000)
    np.savez_compressed(tmp_path / "file.npz", a=np.zeros(100_000))
    assert "a.npy has more than 10000 bytes" in refused(readers.arrays, str(tmp_path / "file.npz"), ["a"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: of.pop("policies"), "lacks policies"),
        (lambda of: of.update(policies=3), "policies must be an object, got 3"),
        (lambda of: of["policies"]["learned"].update(mean="x"), "policies.'learned'.mean must be a finite number"),
        (lambda of: of["policies"]["learned"].update(mean=True), "mean must be a finite number, got True"),
        (lambda of: of["policies"]["learned"].update(interval95=[1.0]), "interval95 must be a pair of numbers"),
        (lambda of: of["policies"]["learned"].update(interval95=[2.0, 1.0]), "must be a pair of numbers in order"),
        (lambda of: of["policies"]["learned"].update(interval95={"low": 1}), "interval95 must be a pair of numbers"),
        (lambda of: of["policies"]["learned"].update(num_users=0), "num_users must be an integer between 1 and"),
        (lambda of: of.update(horizon=10**20), "horizon must be an integer between"),
        (lambda of: of.update(per_seed=[{}]), "per_seed[0] must be an object with policies"),
        (lambda of: of.update(world={"a": {}}), "world.'a' must be a number or a text"),
        (lambda of: of.update(world={"a": [1, [{}]]}), "world.'a' must be a number or a text"),
        (lambda of: of["policies"].update({"p" * 10_000: 3}), "must be an object, got 3"),
    ],
)
def test_an_evaluation_of_another_form_is_refused(change, said, tmp_path):
    content = evaluation()
    change(content)
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    assert said in refused(schema.read, str(tmp_path / "evaluation.json"))


def test_an_evaluation_may_have_other_keys_and_lack_some(tmp_path):
    for content in (evaluation(), {**evaluation(), "new": [{}]}, {"policies": {}}):
        (tmp_path / "evaluation.json").write_text(json.dumps(content))
        read = schema.read(str(tmp_path / "evaluation.json")).to_json()
        assert {**read, **content, "schema_version": 1} == read


@pytest.mark.parametrize("value", ["9" * 5000, "0x" + "f" * 5000, "'" + "x" * 5000], ids=["decimal", "hex", "text"])
def test_what_a_binding_holds_is_cut_in_the_message(value):
    message = refused(gin_text.bindings, f"a.b = {value}\n")
    assert message.startswith("not gin text: ")


LARGE = {
    "1000 digits": 10**1000,
    "5000": 10**5000,
    "below 0": -(10**5000),
    "a text": "x" * 5000,
    "a list": ["x"] * 5000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_value_is_cut_in_every_message(value):
    for check in (
        lambda: validation.integer("a", value, 1),
        lambda: validation.number("a", value),
        lambda: validation.boolean("a", value),
        lambda: validation.constructor("a", value),
        lambda: validation.one_of("a", value, ["b"]),
    ):
        message = refused(check)
        assert message.startswith("a must be ")
        assert len(message) < 300


def test_messages_keep_both_ends_when_they_are_cut():
    message = str(validation.InvalidInputError("a" + "x" * 100_000 + "z"))
    assert len(message) == validation.MAX_MESSAGE
    assert message.startswith("ax")
    assert message.endswith("xz")
    assert validation.cut("abcdefghij", 7) == "ab...ij"
    assert validation.cut("abcdefg", 7) == "abcdefg"


@pytest.mark.parametrize("value", [1.5, "text", None, [], [1, "two"], [[1.0, 2.0], [3.0, 4.0]]])
def test_a_parameter_of_a_world_is_a_number_a_text_or_a_list_of_them(value, tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"policies": {}, "world": {"user.untold": value}, "trained_in": {"a": value}}))
    assert schema.read(str(path)).world == {"user.untold": value}
