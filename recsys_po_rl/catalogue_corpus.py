"""Corpus of a user's own catalogue: a table of documents in a CSV or Parquet file.

Over 350 lines: the options of a table are documented where they are validated.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from recsim_ng.core.value import Config, Value

from recsys_po_rl import gin_config
from recsys_po_rl.common import table_files, validation
from recsys_po_rl.common.table_files import Faults, Label, Table
from recsys_po_rl.corpus import StaticCorpus

FEATURE_PREFIX = "feature_"  # columns of features, if their names are not given
MAX_FEATURES = 4096  # K
MAX_ELEMENTS = 2**28  # D * K: 1 GiB of float32
MAX_COLUMNS_SHOWN = 400  # characters of the names of all columns in a message
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_INTEGER = re.compile(r"[-+]?\d{1,18}$")
_OWNER = "TableCorpus"
_NETWORK = f"{gin_config.MODULE}.create_interest_evolution_simulation_network"


class _Columns(NamedTuple):
    """Names of the columns to read."""

    doc_id: str
    topic: str
    quality: str
    length: str
    features: Sequence[str]  # empty: features are an array, or the topics' one-hot vectors


class _Topics(NamedTuple):
    """Topics of the documents."""

    indices: np.ndarray  # int64 [D]
    names: Optional[list[str]]  # by index, in alphabetical order; None if the table has indices


@gin_config.configurable
class TableCorpus(StaticCorpus):
    """Static corpus of the documents in a table; fields as in `CorpusWithTopicAndQuality`.

    One row is one document. Inside the simulation the documents have the ids 1..D in the order of the rows;
    `document_ids` has the ids of the table.

    The sizes may follow from the table: with `num_docs = None` D is the number of rows, with `num_topics = None` K is
    the number of features, or of topics if the table has no features.

    Attributes:
      document_ids: ids of the table, texts or integers; `document_ids[i - 1]` belongs to doc_id i.
      topic_names: names of the topics 0..K-1 in alphabetical order, None if the table has integers as topics. With
        features there may be fewer names than K.
      num_docs: D.
      num_topics: K.
    """

    def __init__(
        self,
        config: Config,
        path: Optional[str] = None,
        id_column: str = "doc_id",
        topic_column: str = "topic",
        quality_column: str = "quality",
        length_column: str = "length",
        feature_columns: Optional[Sequence[str]] = None,
        embeddings_path: Optional[str] = None,
    ) -> None:
        """Read and validate the table.

        Args:
          config: num_docs and num_topics, each the table's number or None; slate_size, if present, at most D.
          path: path of a CSV file (UTF-8, with a header) or Parquet file. At most `table_files.MAX_TABLE_BYTES` bytes
            and `table_files.MAX_ROWS` rows.
          id_column: name of the column of document ids, texts or integers, all different.
          topic_column: name of the column of topics: integers 0..K-1, or names.
          quality_column: name of the column of qualities. A positive quality attracts the interest of users who consume
            the document, a negative quality repels it, see `InterestEvolutionUser`.
          length_column: name of the column of lengths, at least 0, in units of time.
          feature_columns: names of K columns of features; None: all columns whose names begin with `FEATURE_PREFIX`, in
            the order of the table. Without such columns and without embeddings, the features of a document are the
            one-hot vector of its topic.
          embeddings_path: path of a `.npy` file with the features [D, K], instead of feature columns.

        Raises:
          InvalidTypeError: if an argument has the wrong type.
          InvalidInputError: if pyarrow is not installed, a file cannot be read, a column is missing, sizes do not
            agree, or the table has faults: one line with their number and the first ten by row and column.
        """
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise validation.InvalidTypeError(
                f"{_OWNER}: path must be the path of a CSV or Parquet file, got {validation.shown(path)}"
            )
        named = {
            "id_column": id_column,
            "topic_column": topic_column,
            "quality_column": quality_column,
            "length_column": length_column,
        }
        for argument, name in named.items():
            _checked_name(argument, name)
        chosen = _checked_feature_columns(feature_columns)
        if embeddings_path is not None and not isinstance(embeddings_path, (str, os.PathLike)):
            raise validation.InvalidTypeError(
                f"{_OWNER}: embeddings_path must be the path of a .npy file or None, "
                f"got {validation.shown(embeddings_path)}"
            )
        if embeddings_path is not None and chosen:
            raise validation.InvalidInputError(f"{_OWNER}: feature_columns and embeddings_path exclude each other")
        config = {**config, **{size: _size(config, size) for size in ("num_docs", "num_topics", "slate_size")}}
        path = os.fspath(path)
        columns = _Columns(id_column, topic_column, quality_column, length_column, ())

        def select(names: Sequence[str]) -> list[str]:
            nonlocal columns
            features = chosen
            if features is None:
                features = (
                    [name for name in names if name.startswith(FEATURE_PREFIX)] if embeddings_path is None else []
                )
            columns = columns._replace(features=features)
            origins = {**{name: f" ({argument})" for argument, name in named.items()}, **dict.fromkeys(features, "")}
            for name, argument in origins.items():
                if name not in names:
                    shown = validation.cut(", ".join(validation.shown(each) for each in names), MAX_COLUMNS_SHOWN)
                    raise validation.InvalidInputError(
                        f"{_OWNER}: {table_files.shown(path)} lacks the column {validation.shown(name)}{argument}, "
                        f"it has {shown}"
                    )
            return list(origins)

        table = table_files.read(_OWNER, path, select)
        faults = Faults()
        ids = _ids(table, columns.doc_id, faults)
        features = _features(table, columns.features, embeddings_path, faults)
        num_topics = config["num_topics"] if features is None else features.shape[1]
        topics = _topics(table, columns.topic, num_topics, faults)
        quality = table.numbers(columns.quality, faults)
        length = table.numbers(columns.length, faults, minimum=0.0)
        slate_size = config["slate_size"] or 1
        if table.num_rows < slate_size:
            faults.add(None, f"too few documents: {table.num_rows}, a slate has {slate_size}")
        faults.raise_if_any(_OWNER, path)
        sizes = _sizes(config, path, topics, features, table.num_rows)
        if features is None:
            features = np.eye(sizes["num_topics"], dtype=np.float32)[topics.indices]
        self.document_ids: tuple[Label, ...] = ids
        self.topic_names = None if topics.names is None else tuple(topics.names)
        self.num_docs, self.num_topics = sizes["num_docs"], sizes["num_topics"]
        arrays = {
            "doc_topic": topics.indices.astype(np.int32),
            "doc_quality": quality.astype(np.float32),
            "doc_features": features,
            "doc_length": length.astype(np.float32),
        }
        self.content_hash = _hash(ids, topics.names, arrays)
        super().__init__({**config, **sizes}, Value(doc_id=np.arange(1, len(ids) + 1, dtype=np.int32), **arrays))

    def world_parameters(self) -> dict[str, Any]:
        """Return the parameters that identify the world: a hash of the table's ids and numbers."""
        return {"table": self.content_hash}


def document_ids(corpus: Any) -> Optional[Sequence[Label]]:
    """Return the user's own ids of a corpus's documents, by doc_id less 1; None for corpora without such ids."""
    ids: Optional[Sequence[Label]] = getattr(corpus, "document_ids", None)
    return ids


def topic_names(corpus: Any) -> Optional[Sequence[str]]:
    """Return the user's own names of a corpus's topics; None for corpora without such names."""
    names: Optional[Sequence[str]] = getattr(corpus, "topic_names", None)
    return names


def content_hash(corpus: Any) -> Optional[str]:
    """Return the hash of a corpus's table; None for corpora without a table."""
    content_hash: Optional[str] = getattr(corpus, "content_hash", None)
    return content_hash


def _size(config: Config, size: str) -> Optional[int]:
    given = config.get(size)
    return None if given is None else validation.integer(f"{_OWNER}: config[{size!r}]", given, 1)


def _checked_name(argument: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise validation.InvalidTypeError(
            f"{_OWNER}: {argument} must be the name of a column, got {validation.shown(name)}"
        )
    return name


def _checked_feature_columns(given: Any) -> Optional[list[str]]:
    if given is None:
        return None
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise validation.InvalidTypeError(
            f"{_OWNER}: feature_columns must be a list of names of columns or None, got {validation.shown(given)}"
        )
    names = [_checked_name("feature_columns: each", name) for name in given]
    if len(set(names)) < len(names):
        raise validation.InvalidInputError(
            f"{_OWNER}: feature_columns must be different, got {validation.shown(names)}"
        )
    return names


def _ids(table: Table, column: str, faults: Faults) -> tuple[Label, ...]:
    ids = table.labels(column, faults)
    first: dict[Label, int] = {}
    repeated = [
        place for place, label in enumerate(ids) if label is not None and first.setdefault(label, place) < place
    ]
    faults.add_rows(
        column,
        repeated,
        lambda place: (
            f"{_shown(ids[place])} stands in row {first[ids[place]] + 1} too"  # type: ignore[index]
        ),
    )
    return tuple(ids)  # type: ignore[arg-type]


def _features(
    table: Table, columns: Sequence[str], embeddings_path: Optional[Union[str, os.PathLike[str]]], faults: Faults
) -> Optional[np.ndarray]:
    """Return the features, float32 [D, K]; None if the table has none."""
    if embeddings_path is None:
        if not columns:
            return None
        _raise_if_too_large(table.num_rows, len(columns))
        features = np.empty((table.num_rows, len(columns)), np.float32)
        for place, column in enumerate(columns):
            with np.errstate(over="ignore", invalid="ignore"):
                features[:, place] = table.numbers(column, faults)
        return features
    array = table_files.read_array(_OWNER, os.fspath(embeddings_path))
    if array.ndim != 2 or not array.shape[1]:
        raise validation.InvalidInputError(
            f"{_OWNER}: embeddings_path {table_files.shown(embeddings_path)} must hold one row of numbers for each "
            f"document, got the shape {array.shape}"
        )
    _raise_if_too_large(*array.shape)
    if len(array) != table.num_rows:
        faults.add(None, f"{table.num_rows} documents, but {len(array)} rows of embeddings")
    with np.errstate(over="ignore"):
        features = array.astype(np.float32)
    rows, columns_of = np.nonzero(~np.isfinite(features))
    if rows.size:
        first_in_row = dict(zip(rows[::-1].tolist(), columns_of[::-1].tolist()))
        faults.add_rows(
            "embeddings", sorted(first_in_row), lambda row: f"{array[row, first_in_row[row]]} is not finite"
        )
    return features


def _raise_if_too_large(num_docs: int, num_features: int) -> None:
    if num_features > MAX_FEATURES or num_docs * num_features > MAX_ELEMENTS:
        raise validation.InvalidInputError(
            f"{_OWNER}: {num_docs} documents with {num_features} features are too many: at most {MAX_FEATURES} "
            f"features, and at most {MAX_ELEMENTS} numbers"
        )


def _topics(table: Table, column: str, num_topics: Optional[int], faults: Faults) -> _Topics:
    """Return the topics; integers outside 0..K-1 are faults.

    Args:
      table: the table.
      column: name of the column.
      num_topics: K; None: integers may be at most `MAX_FEATURES` - 1.
      faults: collector of faults.
    """
    labels = table.labels(column, faults)
    numeric = np.array([isinstance(label, int) or bool(label and _NUMBER.match(label)) for label in labels], bool)
    known = np.array([label is not None for label in labels], bool)
    if known.any() and not (numeric.sum() * 2 >= known.sum()):
        return _named_topics(labels, np.flatnonzero(numeric), column, num_topics, faults)
    integers = [_as_integer(label) for label in labels]
    wrong = [place for place, label in enumerate(labels) if label is not None and integers[place] is None]
    faults.add_rows(column, wrong, lambda place: f"{_shown(labels[place])} is not an integer, as other topics are")
    most = (MAX_FEATURES if num_topics is None else num_topics) - 1
    outside = [place for place, topic in enumerate(integers) if topic is not None and not 0 <= topic <= most]
    faults.add_rows(column, outside, lambda place: f"topic {labels[place]} is out of range, 0 to {most}")
    return _Topics(np.array([0 if topic is None else min(max(topic, 0), most) for topic in integers], np.int64), None)


def _named_topics(
    labels: Sequence[Optional[Label]], numeric: np.ndarray, column: str, num_topics: Optional[int], faults: Faults
) -> _Topics:
    """Return topics by name; the places in `numeric` hold numbers and are faults."""
    faults.add_rows(column, numeric, lambda place: f"{_shown(labels[place])} is a number, other topics are names")
    names = sorted({str(label) for label in labels if label is not None})
    if num_topics is not None and len(names) > num_topics:
        faults.add(None, f"{len(names)} different topics, but only {num_topics} features or num_topics")
    index_of: dict[Any, int] = {name: index for index, name in enumerate(names)}
    return _Topics(np.array([index_of.get(label, 0) for label in labels], np.int64), names)


def _as_integer(label: Optional[Label]) -> Optional[int]:
    if isinstance(label, str):
        return int(label) if _INTEGER.match(label) else None
    return label


def _shown(label: Optional[Label]) -> str:
    return validation.shown(label, table_files.MAX_FAULT_SHOWN)


def _sizes(config: Config, path: str, topics: _Topics, features: Optional[np.ndarray], num_docs: int) -> dict[str, int]:
    """Return num_docs and num_topics of the table, which must be those of the config where it has them."""
    _raise_if_other("num_docs", config["num_docs"], num_docs, f"{table_files.shown(path)} has {num_docs} documents")
    given = config["num_topics"]
    if features is not None:
        num_topics = features.shape[1]
        _raise_if_other("num_topics", given, num_topics, f"the documents have {num_topics} features")
    elif topics.names is not None:
        num_topics = len(topics.names)
        _raise_if_other("num_topics", given, num_topics, f"{table_files.shown(path)} has {num_topics} topics")
    else:
        num_topics = int(topics.indices.max()) + 1 if given is None else given
    if num_topics < 2:
        raise validation.InvalidInputError(
            f"{_OWNER}: {table_files.shown(path)} gives num_topics = {num_topics}, at least 2 topics or features are "
            "needed"
        )
    if features is None:
        _raise_if_too_large(num_docs, num_topics)
    return {"num_docs": num_docs, "num_topics": num_topics}


def _raise_if_other(size: str, given: Any, of_table: int, why: str) -> None:
    if given is not None and given != of_table:
        raise validation.InvalidInputError(
            f"{_OWNER}: {size} is {given}, but {why}: bind {_NETWORK}.{size} = None, and it follows from the table"
        )


def _hash(ids: Sequence[Label], names: Optional[Sequence[str]], arrays: dict[str, np.ndarray]) -> str:
    """Return a hash of the documents, equal for equal documents in CSV and Parquet."""
    digest = hashlib.sha256(json.dumps([list(ids), names]).encode())
    for name, array in sorted(arrays.items()):
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{name} {array.shape}".encode())
        digest.update(little_endian.tobytes())
    return f"{len(ids)} documents, sha256 {digest.hexdigest()[:16]}"
