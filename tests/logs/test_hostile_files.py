"""Files that change while they are read, are damaged, packed, or hold rows of other lengths."""

import gzip
import os
import shutil

import numpy as np
import pytest

from recsys_po_rl.common.validation import InvalidInputError
from recsys_po_rl.logs import csv_texts, reading, table_streams, writing
from tests.support.logs import log_of

HEADER = "user_id,step,slot,item_id,clicked,consumed_time"


def csv_file(path, lines, end="\n"):
    path.write_bytes("\n".join([HEADER, *lines]).encode() + end.encode())
    return path


def row(user, item=1):
    return f"{user},0,0,{item},0,0"


def log_file(path, num_users):
    ones = np.ones(num_users)
    log = log_of(
        {"user_id": np.arange(num_users), "step": 0 * ones, "slot": 0 * ones, "item_id": ones, "clicked": ones}
    )
    path.unlink(missing_ok=True)
    with writing.InteractionWriter(path, optional=[]) as writer:
        writer.write(log)
    (path.parent / (path.name + reading.METADATA_SUFFIX)).unlink(missing_ok=True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("num_users", [5, 20], ids=["shrinks", "grows"])
def test_a_file_that_changes_between_passes_is_one_line(tmp_path, suffix, num_users):
    path = tmp_path / f"log{suffix}"
    log_file(path, 10)
    opened = reading.open_interactions(path)
    log_file(path, num_users)
    with pytest.raises(InvalidInputError, match=r"log\.\w+' has changed since it was read first, open the log again"):
        opened.load()
    with pytest.raises(InvalidInputError, match="has changed"):
        list(opened.batches())


@pytest.mark.parametrize("items", [[1, 1, 1, 1], [1, 1], [1, 0, 1]], ids=["grows", "shrinks", "another is invalid"])
def test_another_number_of_rows_is_noticed_even_where_the_file_s_state_is_equal(tmp_path, monkeypatch, items):
    monkeypatch.setattr(table_streams.TableStream, "state", None)
    path = csv_file(tmp_path / "log.csv", [row(user) for user in range(3)])
    opened = reading.open_interactions(path)
    csv_file(path, [row(user, item) for user, item in enumerate(items)])
    for read in (opened.load, lambda: list(opened.batches())):
        with pytest.raises(InvalidInputError, match="a file has changed while it was read"):
            read()


def test_a_file_that_changes_while_it_is_read_is_one_line(tmp_path):
    path = csv_file(tmp_path / "log.csv", [row(user) for user in range(9)])
    batches = reading.open_interactions(path, batch_rows=2).batches()
    next(batches)
    os.utime(path, ns=(0, 0))
    with pytest.raises(InvalidInputError, match="has changed since it was read first"):
        list(batches)


def test_a_copy_in_the_place_of_a_file_is_another_file(tmp_path):
    path = csv_file(tmp_path / "log.csv", [row(1)])
    opened = reading.open_interactions(path)
    shutil.copy2(path, tmp_path / "copy.csv")
    os.replace(tmp_path / "copy.csv", path)
    with pytest.raises(InvalidInputError, match="has changed since it was read first"):
        opened.load()


def test_rows_of_many_lengths_have_one_reason(tmp_path):
    lines = [row(1), *(row(1) + ",9" * extra for extra in range(1, 300)), row(2), "5"]
    path = csv_file(tmp_path / "log.csv", lines)
    with pytest.raises(InvalidInputError) as caught:
        reading.load_interactions(path)
    assert "300 of 302 rows cannot be right" in str(caught.value)
    assert "300 x wrong number of cells; first: " in str(caught.value)
    assert "row 2: 7 cells where the header has 6" in str(caught.value)
    opened = reading.open_interactions(path, max_invalid_share=1.0)
    assert opened.load().user_id.tolist() == [1, 2]
    assert opened.invalid_rows[-1][1:] == (302, "1 cell where the header has 6")


def test_the_number_of_rows_of_other_lengths_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(table_streams, "MAX_UNEQUAL_ROWS", 3)
    path = csv_file(tmp_path / "log.csv", [row(1), "1", "1", "1"])
    assert reading.open_interactions(path, max_invalid_share=1.0).invalid_counts == {"wrong number of cells": 3}
    csv_file(path, [row(1), "1", "1", "1", "1"])
    with pytest.raises(InvalidInputError, match="more than 3 rows have another number of cells than the header, 6"):
        reading.open_interactions(path, max_invalid_share=1.0)


def test_each_row_of_another_length_is_seen_once(tmp_path, monkeypatch):
    """The header is read without the rows; the parser used to go through the first block for it."""
    path = csv_file(tmp_path / "log.csv", ["1"] * 5)
    with table_streams.opened(str(path)) as stream:
        assert len(stream.unequal.rows) == 0
        list(stream.batches(stream.names, 10))
        assert stream.unequal.rows.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (f"{HEADER}\n1,0,0,1,0,0,\xff\n", len(HEADER) + 14),
        (f"{HEADER}\n1,0,0,1,0,\xff\n", len(HEADER) + 12),
        (f"{HEADER},\xff\n", len(HEADER) + 2),
        (f"{HEADER},other\n1,0,0,1,0,0,\xc3", len(HEADER) + 20),
    ],
)
def test_what_is_no_utf_8_is_one_line(tmp_path, capfd, monkeypatch, content, place):
    (tmp_path / "log.csv").write_bytes(content.encode("latin-1"))
    for block in (1 << 22, len(HEADER) + 13):
        monkeypatch.setattr(table_streams, "CSV_BLOCK_BYTES", block)
        with pytest.raises(InvalidInputError, match=rf"log\.csv' cannot be read: byte {place} is not UTF-8"):
            reading.load_interactions(tmp_path / "log.csv")
    assert capfd.readouterr().err == ""  # arrow used to print a traceback


def test_characters_of_several_bytes_may_lie_across_blocks(tmp_path):
    (tmp_path / "x").write_bytes("aäöü€\n".encode() * 3)
    for size in range(1, 9):
        with open(tmp_path / "x", "rb") as file:
            reader = csv_texts.Checked(file)
            assert b"".join(reader.read(size) for _ in range(40)) == "aäöü€\n".encode() * 3


@pytest.mark.parametrize(
    ("packed", "name"), [(gzip.compress(b"a,b\n", mtime=0), "gzip"), (b"PK\x03\x04x", "zip"), (b"\xfd7zXZ\x00", "xz")]
)
def test_a_packed_file_has_a_message_of_its_own(tmp_path, packed, name):
    (tmp_path / "log.csv.gz").write_bytes(packed)
    with pytest.raises(InvalidInputError, match=rf"cannot be read: it is packed \({name}\), unpack it first"):
        reading.load_interactions(tmp_path / "log.csv.gz")


def test_line_breaks_in_quotes_may_lie_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(table_streams, "CSV_BLOCK_BYTES", 150)
    lines = [f'{user},0,0,1,0,0,"some\n\n{"x" * (user % 7)},policy"' for user in range(50)]
    lines[30] = "1"
    (tmp_path / "log.csv").write_text("\n".join([HEADER + ",policy", *lines]), encoding="utf-8")
    opened = reading.open_interactions(tmp_path / "log.csv", max_invalid_share=0.1)
    log = opened.load()
    assert log.policy.tolist() == [f"some\n\n{'x' * (user % 7)},policy" for user in range(50) if user != 30]
    assert opened.invalid_rows[0].row == 31


def test_a_quotation_mark_that_is_not_closed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(table_streams, "CSV_BLOCK_BYTES", 150)
    path = csv_file(tmp_path / "log.csv", ['"1,0,0,1,0,0', *[row(user) for user in range(99)]])
    with pytest.raises(
        InvalidInputError, match="a row has more than 150 bytes; perhaps a quotation mark is not closed"
    ):
        reading.load_interactions(path)


@pytest.mark.parametrize(("content", "num_rows"), [(HEADER, 0), (f"{HEADER}\n{row(1)}", 1), (f"\ufeff{HEADER}", 0)])
def test_the_last_line_needs_no_end(tmp_path, content, num_rows):
    (tmp_path / "log.csv").write_text(content, encoding="utf-8")
    assert reading.load_interactions(tmp_path / "log.csv").num_rows == num_rows


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_a_header_is_named(tmp_path, content):
    (tmp_path / "log.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="it is empty, the header is missing"):
        reading.load_interactions(tmp_path / "log.csv")


def test_a_header_of_many_columns_is_searched_quickly_for_equal_names(tmp_path):
    names = [str(number) for number in range(100_000)]
    (tmp_path / "log.csv").write_text(",".join([*names, "7"]), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="it has two columns '7'"):
        reading.load_interactions(tmp_path / "log.csv")
