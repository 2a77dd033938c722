"""Readers of JSON, CSV and npz files, one per format, with size limits; file content is never executed or unpickled.

A file that is damaged or exceeds a limit raises `validation.InvalidInputError` with a one-line message.
"""

import csv
import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import regular_files, validation

MAX_JSON_BYTES = 64 << 20  # portrait.json of a large study has about one MiB
MAX_JSON_DEPTH = 40  # evaluation.json has eight levels
MAX_JSON_DIGITS = 30  # digits of an integer; 64-bit integers have at most twenty
MAX_JSON_NUMBER = 1e60  # magnitude; sums of fourth powers stay finite
MAX_TABLE_BYTES = 1 << 30  # a million training steps have about 200 MiB
MAX_CELL = 10_000  # characters of a cell; the message of an alarm has about a hundred
MAX_STEP_DIGITS = 18  # steps fit into 64 bits
MAX_ARRAYS_BYTES = 1 << 30  # stored, and unpacked for each array: ten policies and ten million users have 400 MiB
MAX_HEADER = 10_000  # characters of an array's header, as in NumPy


def json_object(path: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
      path: path of the file.

    Returns:
      Its content: all numbers are finite and at most `MAX_JSON_NUMBER`, keys are unique in their object.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a valid JSON object within the limits.
    """
    return parsed_object(os.path.basename(path), regular_files.content(path, MAX_JSON_BYTES))


def parsed_object(name: str, content: bytes) -> dict[str, Any]:
    """Parse a JSON object; see `json_object` for limits and errors.

    Args:
      name: name of the file, for messages.
      content: its bytes, at most `MAX_JSON_BYTES`.

    Raises:
      InvalidInputError: one line, if the content is not a valid JSON object within the limits.
    """
    if len(content) > MAX_JSON_BYTES:
        raise validation.InvalidInputError(f"{name} cannot be read: it has more than {MAX_JSON_BYTES} bytes")
    try:
        parsed = json.loads(
            content.decode(),
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant,
            object_pairs_hook=_without_duplicates,
        )
    except UnicodeDecodeError as error:
        raise validation.InvalidInputError(f"{name} cannot be read: byte {error.start + 1} is not utf-8") from error
    except RecursionError as error:
        raise validation.InvalidInputError(f"{name} is no JSON that this project writes: it nests too deep") from error
    except ValueError as error:
        why = "" if isinstance(error, _ContentError) else ", perhaps it was cut off"
        raise validation.InvalidInputError(f"{name} is no JSON{why}: {error}") from error
    if not isinstance(parsed, dict):
        raise validation.InvalidInputError(f"{name} is not what this project writes: no object on the top")
    if _nests_deeper(parsed, MAX_JSON_DEPTH):
        raise validation.InvalidInputError(f"{name} is no JSON that this project writes: it nests too deep")
    return parsed


class Table(NamedTuple):
    """Content of a CSV file."""

    columns: list[str]  # the header's cells
    rows: list[dict[str, str]]  # rows with as many cells as the header
    ends: list[int]  # by row: offset in bytes of its end
    num_intact: int  # rows before the first invalid line
    problems: list[str]  # a line for each kind of damage; an unterminated last line does not count


def table(path: str) -> Table:
    """Read a CSV file with a header; invalid lines are skipped.

    Args:
      path: path of the file.

    Returns:
      Rows up to the first byte that is not text, or the first cell of more than `MAX_CELL` characters.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a regular file, or is too large.
    """
    name = os.path.basename(path)
    content = regular_files.content(path, MAX_TABLE_BYTES)
    lines = _Lines(content)
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    ends: list[int] = []
    problems: list[str] = []
    num_intact, num_unequal, num_records = -1, 0, 0
    records = csv.reader(lines)
    while True:
        try:
            cells = next(records, None)
            if cells is None:
                break
            num_records += 1
            _raise_if_too_long(cells)
        except (csv.Error, _ContentError) as error:
            problems.append(f"{name} cannot be read from line {lines.number} on: {error}")
            num_intact = len(rows) if num_intact < 0 else num_intact
            break
        if not columns:
            columns = cells
            if len(set(columns)) < len(columns):
                problems.append(f"{name} is no table: two columns have one name")
                return Table([], [], [], 0, problems)
        elif len(cells) == len(columns):
            rows.append(dict(zip(columns, cells)))
            ends.append(lines.end)
        else:
            num_unequal += 1
            num_intact = len(rows) if num_intact < 0 else num_intact
    if not columns and not problems and not _is_text(content):
        problems.append(f"{name} cannot be read: it is not utf-8")
    if num_unequal:
        problems.append(f"{name}: {num_unequal} rows have not as many cells as the header: left out")
    return Table(columns, rows, ends, len(rows) if num_intact < 0 else num_intact, problems)


def step_in(row: dict[str, str]) -> Optional[int]:
    """Return the cell `step` of a row, None if it is not an integer of at most `MAX_STEP_DIGITS` digits."""
    cell = row.get("step", "")
    return int(cell) if cell.isascii() and cell.isdecimal() and len(cell) <= MAX_STEP_DIGITS else None


def arrays(path: str, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays from an npz file; object arrays are not allowed.

    Args:
      path: path of the file.
      names: names of the arrays to read; others are ignored.

    Returns:
      The arrays, in the order of `names`.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a valid npz file, or an array is larger than `MAX_ARRAYS_BYTES`,
        or the number of values differs from the array's header.
    """
    content = regular_files.content(path, MAX_ARRAYS_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's parser warns about a damaged header
            return [_array(archive, f"{name}.npy") for name in names]
    # For damaged bytes zipfile, zlib and NumPy's header reader (which parses Python syntax) raise a dozen kinds of
    # errors: BadZipFile, zlib.error, struct.error, RuntimeError, SyntaxError, TokenError, MemoryError, ...
    except Exception as error:
        why = validation.cut(" ".join(str(error).split()) or type(error).__name__)
        raise validation.InvalidInputError(
            f"{validation.shown(path, validation.MAX_PATH_SHOWN)} cannot be read: {why}"
        ) from error


class _ContentError(ValueError):
    """Value in a file that this project cannot have written."""


def _integer(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:  # checked before conversion, whose cost is quadratic in the length
        raise _ContentError(f"the number {validation.cut(digits, 20)} has {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not abs(value) <= MAX_JSON_NUMBER:
        raise _ContentError(f"the number {validation.cut(digits, 20)} is too large")
    return value


def _no_constant(text: str) -> float:
    raise _ContentError(f"{text} is no number of JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _ContentError(f"the key {validation.shown(twice)} stands twice")
    return unique


def _nests_deeper(content: Any, depth: int) -> bool:
    """Return whether a value is nested more deeply than a limit, without recursion."""
    level = [content]
    for _ in range(depth):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [
            inner
            for container in containers
            for inner in (container.values() if isinstance(container, dict) else container)
        ]
    return any(isinstance(item, (dict, list)) for item in level)


class _Lines:
    """Iterator over the whole lines of a file as text, which records the end of the last line."""

    def __init__(self, content: bytes) -> None:
        self.end = 0  # offset in bytes of the end of the last line returned
        self.number = 0  # number of the last line returned, from 1
        self._content = content

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        end = self._content.find(b"\n", self.end) + 1
        if not end:
            raise StopIteration
        line, self.end = self._content[self.end : end], end
        self.number += 1
        if b"\0" in line:
            raise _ContentError("it holds a NUL")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise _ContentError("it is not utf-8") from error


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _raise_if_too_long(cells: Sequence[str]) -> None:
    longest = max(map(len, cells), default=0)
    if longest > MAX_CELL:
        raise _ContentError(f"a cell has {longest} characters, at most {MAX_CELL} are allowed")


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    information = archive.getinfo(member)
    if information.file_size > MAX_ARRAYS_BYTES:
        raise _ContentError(f"{member} has more than {MAX_ARRAYS_BYTES} bytes")
    with archive.open(information) as stream:
        content = io.BytesIO(stream.read())
    if np.lib.format.read_magic(content) != (1, 0):
        raise _ContentError(f"{member} is no array of format 1.0")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(content, max_header_size=MAX_HEADER)
    values = content.read()
    if dtype.hasobject or dtype.kind not in "iufU" or fortran_order:
        raise _ContentError(f"{member} holds neither numbers nor texts")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(values) or not dtype.itemsize:
        raise _ContentError(f"{member} has {len(values)} bytes of values, its header says another size")
    return np.frombuffer(values, dtype).reshape(shape).copy()
