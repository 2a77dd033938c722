"""Labels of documents and users, and tables that number them."""

import collections
import numbers
import re
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.common.table_files import Label

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")  # "007" is a text
_MIN_LABEL, _MAX_LABEL = -(2**63), 2**64 - 1  # of Parquet's int64 and uint64
_NOWHERE = np.iinfo(np.int64).max


def repeated(values: Sequence[Any]) -> Optional[Any]:
    """Return the first value that stands in a sequence more than once, None if all values are different.

    Args:
      values: hashable values.
    """
    if len(set(values)) == len(values):
        return None
    counts = collections.Counter(values)
    return next(value for value in values if counts[value] > 1)


def label_of(value: Any) -> Optional[Label]:
    """Return the label that an id stands for, by one rule for all files and for given ids; None if it is no label.

    Texts are stripped; a text of an integer of 64 bits without a leading zero is that integer, as in CSV.

    Args:
      value: id, a text or an integer.
    """
    if isinstance(value, str):
        text = value.strip()
        if not text or len(text) > table_files.MAX_CELL or table_files.CONTROL.search(text):
            return None
        is_integer = _INTEGER.fullmatch(text) and _MIN_LABEL <= int(text) <= _MAX_LABEL
        return int(text) if is_integer else text
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if is_integer and _MIN_LABEL <= int(value) <= _MAX_LABEL else None


def checked_labels(name: str, given: Any) -> list[Label]:
    """Return the labels of given ids.

    Args:
      name: name of the argument, for messages.
      given: ids, a sequence or array of integers and texts.

    Raises:
      InvalidTypeError: if it is no sequence, or an id is neither an integer of 64 bits nor a text of 1 to
        `table_files.MAX_CELL` characters without control characters.
      InvalidInputError: if there are no ids, or two ids are one label.
    """
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise validation.InvalidTypeError(
            f"{name} must be a sequence of integers and texts, got {validation.shown(given)}"
        )
    labels: list[Label] = []
    for place, value in enumerate(given):
        label = label_of(value)
        if label is None:
            raise validation.InvalidTypeError(
                f"{name}: each must be an integer of 64 bits or a text of 1 to {table_files.MAX_CELL} characters "
                f"without control characters, number {place} is {validation.shown(value)}"
            )
        labels.append(label)
    if not labels:
        raise validation.InvalidInputError(f"{name} must have at least one id")
    twice = repeated(labels)
    if twice is not None:
        raise validation.InvalidInputError(f"{name} must be different, {validation.shown(twice)} stands twice")
    return labels


class IdTable:
    """Numbering of labels in the order of their first appearance; may be closed to new labels.

    Attributes:
      labels: labels by number.
    """

    def __init__(self, labels: Sequence[Label] = (), closed: bool = False) -> None:
        """Create a table.

        Args:
          labels: labels that are numbered already, all different.
          closed: whether other labels are unknown instead of being added.
        """
        self.labels = list(labels)
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        self._closed = closed

    def number(self, label: Label) -> int:
        """Return the number of a label, from 0; -1 if it is unknown."""
        number = self._numbers.get(label, -1)
        if number < 0 and not self._closed:
            number = self._numbers[label] = len(self.labels)
            self.labels.append(label)
        return number

    def close(self) -> None:
        """Close the table to new labels."""
        self._closed = True


class Numbering:
    """Final numbers of the labels of a closed table: without labels that no kept row has.

    Attributes:
      labels: labels by final number.
    """

    def __init__(self, table: IdTable) -> None:
        """Keep all labels, in the order of the table.

        Args:
          table: the table; it is closed.
        """
        table.close()
        self.labels = table.labels
        self._final: Optional[np.ndarray] = None  # int64, final numbers by number of the table; None: the same
        self._first = np.full(len(table.labels), _NOWHERE)  # where labels appear first

    def note(self, number: np.ndarray, file: np.ndarray, row: np.ndarray) -> None:
        """Note the labels of kept rows.

        Args:
          number: int [N], numbers of the table.
          file: int32 [N], indices of the files.
          row: int64 [N], numbers of the rows, below 2**40.
        """
        np.minimum.at(self._first, number, (file.astype(np.int64) << 40) + row)

    def keep_noted(self) -> None:
        """Keep the labels that were noted, in the order of their first appearance."""
        order = np.argsort(self._first, kind="stable")
        self._set([int(number) for number in order[self._first[order] < _NOWHERE]])

    def sort(self) -> None:
        """Put the labels in ascending order, integers before texts."""
        labels, final = self.labels, self._final
        order = sorted(range(len(labels)), key=lambda number: (isinstance(labels[number], str), labels[number]))
        self._set(order)
        if final is not None and self._final is not None:
            self._final = np.where(final < 0, -1, self._final[final])

    def _set(self, order: Sequence[int]) -> None:
        self._final = np.full(len(self.labels), -1)
        self._final[list(order)] = np.arange(len(order))
        self.labels = [self.labels[number] for number in order]

    def final(self, number: np.ndarray) -> np.ndarray:
        """Return the final numbers of kept labels, int64 [N].

        Args:
          number: int [N], numbers of the table.
        """
        return number if self._final is None else self._final[number]
