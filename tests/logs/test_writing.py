"""Writer of interaction logs: it refuses, before anything is written, what the reader refuses."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_po_rl.common.validation import InvalidInputError, InvalidTypeError
from recsys_po_rl.experiment import write_log
from recsys_po_rl.logs import interactions, reading, sequence_checks, table_streams, writing
from recsys_po_rl.run_folder import readers
from tests.support.logs import log_of, random_log, written


def test_a_writer_validates_what_it_is_given(tmp_path):
    log = random_log()
    with pytest.raises(InvalidInputError, match=r"must end with \.parquet or \.csv, got 'log\.txt'"):
        writing.InteractionWriter("log.txt")
    path = written(tmp_path / "log.parquet", log)
    with pytest.raises(InvalidInputError, match=r"log\.parquet' exists already"):
        writing.InteractionWriter(path)
    with pytest.raises(InvalidInputError, match="optional: each must be one of"):
        writing.InteractionWriter(tmp_path / "b.csv", optional=["clicked"])


@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("item_id", np.zeros(600, np.int32), InvalidInputError, "row 1: unknown document"),
        ("item_id", np.ones(600), InvalidTypeError, r"item_id must be int32 \[600\], got float64 \[600\]"),
        ("item_id", np.ones(6, np.int32), InvalidTypeError, r"item_id must be int32 \[600\], got int32 \[6\]"),
    ],
)
def test_a_failed_log_leaves_no_file(tmp_path, column, values, error, message):
    log = random_log()
    wrong = interactions.Interactions(**{**log.present(), column: values})
    for suffix in (".parquet", ".csv"):
        with (
            pytest.raises(error, match=message),
            writing.InteractionWriter(tmp_path / f"log{suffix}") as writer,
        ):
            writer.write(wrong)
    assert os.listdir(tmp_path) == []


def test_metadata_beside_a_csv_file_are_json(tmp_path):
    written(tmp_path / "log.csv", random_log(), metadata={"a": 1})
    assert json.loads((tmp_path / "log.csv.metadata.json").read_text(encoding="utf-8")) == {"a": 1}


def test_a_log_of_the_largest_catalogue_can_be_read_back(tmp_path):
    count = write_log.MAX_DOCUMENTS
    documents = {
        "num_docs": count,
        "doc_topic": list(range(count)),
        "doc_quality": np.random.default_rng(0).normal(size=count).tolist(),
        "doc_length": [1 / 3] * count,
        "document_ids": [f"document number {number}" for number in range(count)],
    }
    path = written(tmp_path / "log.parquet", random_log(2), parts=1, metadata={"documents": documents})
    assert reading.read_metadata(path) == {"documents": documents}
    assert reading.load_interactions(path).num_rows == 24
    stored = pq.ParquetFile(path).metadata.metadata
    assert len(stored[b"recsys_po_rl"]) > 1 << 22  # the limit of readers was below it
    assert len(stored[b"ARROW:schema"]) < 5000  # which also held the metadata


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_limit_of_metadata_is_that_of_readers(tmp_path, monkeypatch, suffix):
    assert table_streams.MAX_METADATA_BYTES == readers.MAX_JSON_BYTES
    monkeypatch.setattr(readers, "MAX_JSON_BYTES", 1 << 20)
    least = len(json.dumps({"text": ""}))
    text = "x" * (readers.MAX_JSON_BYTES - least)
    path = written(tmp_path / f"log{suffix}", random_log(1), parts=1, metadata={"text": text})
    assert reading.read_metadata(path) == {"text": text}
    assert reading.load_interactions(path).num_rows == 12
    with pytest.raises(InvalidInputError, match=f"metadata cannot be read: it has more than {len(text) + least} bytes"):
        writing.InteractionWriter(tmp_path / f"b{suffix}", {"text": text + "x"})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": np.nan}, "metadata must be a JSON object: Out of range float"),
        ({"a": np.arange(3)}, "metadata must be a JSON object: Object of type ndarray is not JSON serializable"),
        ({"a": np.int64(3)}, "Object of type int64 is not JSON serializable"),
        ({"a": "\ud800"}, "metadata must be a JSON object: .*surrogates not allowed"),
        ({"a": 10**40}, "metadata is no JSON: the number .* has 41 digits"),
        ({"a": 1e100}, "metadata is no JSON: the number .* is too large"),
        ({1: 2, "1": 3}, "metadata is no JSON: the key '1' stands twice"),
        (3, "metadata must be a JSON object"),
        ("ab", "metadata must be a JSON object"),
    ],
)
def test_metadata_that_cannot_be_read_back_are_refused(tmp_path, metadata, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        writing.InteractionWriter(tmp_path / "log.parquet", metadata)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [b"log.csv", 3, None])
def test_a_path_is_a_text(path):
    with pytest.raises(InvalidTypeError, match="the path must be a text or a path, got"):
        writing.InteractionWriter(path)


class BytesPath:
    """Path of bytes."""

    def __fspath__(self):
        return b"log.csv"


def test_a_path_of_bytes_is_refused():
    with pytest.raises(InvalidTypeError, match="the path must be a text or a path"):
        writing.InteractionWriter(BytesPath())
    with pytest.raises(InvalidTypeError, match="paths must be a path or a list of paths"):
        reading.load_interactions(BytesPath())


@pytest.mark.parametrize(("name", "why"), [("missing/log.csv", "No such file"), ("a\0.csv", "null byte")])
def test_a_path_that_cannot_be_written_is_one_line(tmp_path, name, why):
    with (
        pytest.raises(InvalidInputError, match=rf"log\.csv.* cannot be written: .*{why}|cannot be written: .*{why}"),
        writing.InteractionWriter(str(tmp_path / name)),
    ):
        pass
    assert os.listdir(tmp_path) == []


RIGHT = {
    "user_id": [1, 1, 1, 2],
    "step": [0, 0, 1, 0],
    "slot": [0, 1, 0, 0],
    "item_id": [1, 2, 3, 4],
    "clicked": [0, 1, 0, 1],
    "propensity": [0.5, 0.5, 1, 1],
    "propensity_prefix": [0.5, 0.5, 1, 1],
}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"slot": [0, 0, 0, 0]}, f"row 2: {sequence_checks.REPEATED}"),
        ({"step": [1, 1, 0, 0]}, f"row 3: {sequence_checks.BACKWARDS}"),
        ({"clicked": [1, 1, 0, 1]}, f"row 2: {sequence_checks.SECOND_CLICK}"),
        ({"item_id": [2, 2, 3, 4]}, f"row 2: {sequence_checks.REPEATED_DOCUMENT}"),
        ({"propensity": [0.5, 0.4, 1, 1]}, f"row 2: {sequence_checks.UNEQUAL_PROPENSITY}"),
        ({"propensity_prefix": [0.5, 0.6, 1, 1]}, f"row 2: {sequence_checks.GROWING_PREFIX}"),
        ({"policy": ["a", "b", "", "a"]}, "policy must have 1 to 200 characters, all of them text, got ''"),
        ({"policy": ["a", None, "b" * 201, "a"]}, "policy must have 1 to 200 characters, all of them text, got 'b"),
        ({"policy": ["a", "\ud800", "b", "a"]}, "policy must have 1 to 200 characters"),
        ({"policy": ["a", "\0", "b", "a"]}, "policy must have 1 to 200 characters"),
        ({"policy": ["a", 3, "b", "a"]}, "policy must be texts or None, got 3"),
        ({"policy": ["a", {}, "b", "a"]}, "policy must be texts or None, got {}"),
    ],
)
def test_a_writer_refuses_what_readers_refuse(tmp_path, suffix, columns, message):
    log = log_of({**RIGHT, **columns})
    for parts in (1, 4):
        with pytest.raises(InvalidInputError, match=message):
            written(tmp_path / f"log{suffix}", log, parts)
    assert os.listdir(tmp_path) == []


def test_policies_are_read_back_as_they_were(tmp_path):
    log = log_of({**RIGHT, "policy": [" a ", "b" * 200, None, 'c\n"d",']})
    for suffix in (".parquet", ".csv"):
        assert reading.load_interactions(written(tmp_path / f"log{suffix}", log)).policy.tolist() == log.policy.tolist()


def test_with_whole_users_the_checks_remember_one_write(tmp_path):
    log = log_of(RIGHT)
    with writing.InteractionWriter(tmp_path / "log.parquet", whole_users=True) as writer:
        writer.write(log.take([0, 1, 2]))
        writer.write(log.take([]))
        writer.write(log.take([3]))
        assert writer._checker.users.tolist() == [2]
        for rows in ([3], [0]):
            with pytest.raises(
                InvalidInputError, match=r"row 5: with whole_users each write has users above .*, 2, got"
            ):
                writer.write(log.take(rows))
    with (
        pytest.raises(InvalidInputError, match="row 2: second click in a slate"),
        writing.InteractionWriter(tmp_path / "b.parquet", whole_users=True) as writer,
    ):
        writer.write(dataclasses.replace(log, clicked=np.ones(4, bool)))


def test_a_csv_log_that_is_cut_short_has_no_rows(tmp_path, monkeypatch):
    """Rows appear after their metadata: rows alone would look whole."""
    order, replace = [], os.replace

    def stopped(source, target):
        order.append(pathlib.Path(target).name)
        if target.endswith(".csv"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "log.csv", random_log(1), metadata={"a": 1})
    assert order == ["log.csv.metadata.json", "log.csv"]
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    assert reading.read_metadata(written(tmp_path / "log.csv", random_log(1), metadata={"a": 1})) == {"a": 1}
