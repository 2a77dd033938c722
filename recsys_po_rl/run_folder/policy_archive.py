"""Reader of policy files: a zip archive of two JSON documents and one HDF5 file, from which only plain values are read.

Policy files are written by Keras 2 with the ending `.keras`. This module resolves no classes or functions: the result
is parsed JSON and NumPy arrays, bounded by the size of the file itself.
"""

import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
MAX_JSON_BYTES = 1 << 20
MAX_BYTES = 1 << 32  # size of the whole file
MAX_GROUPS = 20_000  # number of HDF5 groups and arrays
MAX_DEPTH = 24  # nesting of HDF5 groups
MAX_RANK = 8
_ARRAY_KINDS = "fiub"  # floating, signed, unsigned, bool
_NAME = re.compile(r"[\w.\- ]{1,200}")


class DamagedPolicyError(ValueError):
    """Invalid policy file; the message is one line."""


class PolicyFile(NamedTuple):
    """Content of a policy file."""

    config: Any  # parsed JSON of the architecture
    arrays: dict[str, np.ndarray]  # weights by HDF5 path, such as layers/dense/vars/0


def read(path: str) -> PolicyFile:
    """Read a policy file; names of classes, functions and modules stay strings.

    Args:
      path: path of a regular file.

    Returns:
      The architecture as plain JSON values, and the weights.

    Raises:
      DamagedPolicyError: if the file has another form, or exceeds the limits of this module.
      Exception: any exception that `zipfile`, `json` or `h5py` raise for damaged bytes.
    """
    if os.path.getsize(path) > MAX_BYTES:
        raise DamagedPolicyError(f"it is larger than {MAX_BYTES} bytes")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = sorted(member.filename for member in members)
        if names != sorted((METADATA, CONFIG, WEIGHTS)):
            raise DamagedPolicyError(f"it must hold {METADATA}, {CONFIG} and {WEIGHTS} alone, once each")
        # Stored members cannot be larger than the file: no zip bombs.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise DamagedPolicyError("its members must be stored, not compressed")
        _parsed(archive, METADATA)  # must be valid JSON, but its content is not used
        return PolicyFile(_parsed(archive, CONFIG), _arrays(archive.read(WEIGHTS)))


def write_weights(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a weights file of Keras 2 without other content.

    Args:
      path: path of a new file whose name ends in `.weights.h5`.
      arrays: as in `PolicyFile`.
    """
    with h5py.File(path, "w") as file:
        file.require_group("vars")
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


def _parsed(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > MAX_JSON_BYTES:
        raise DamagedPolicyError(f"its {name} is larger than {MAX_JSON_BYTES} bytes")
    return json.loads(archive.read(name).decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(constant: str) -> Any:
    raise DamagedPolicyError(f"its JSON holds {constant}, which is not a number")


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        datasets = dict(_datasets(file))
        # Two paths may lead to the same bytes, so the sum is bounded too.
        if sum(dataset.nbytes for dataset in datasets.values()) > len(content):
            raise DamagedPolicyError("its weights claim more bytes than there are")
        for path, dataset in datasets.items():
            array = np.asarray(dataset[()])
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DamagedPolicyError(f"its weights {path!r} hold NaN or infinite numbers")
            arrays[path] = array
    return arrays


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of an HDF5 file by path; headers are validated, content is not read yet."""
    pending = [("", file, 0)]
    seen = 0
    while pending:
        prefix, group, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise DamagedPolicyError("its weights are nested too deeply")
        for name in group:
            seen += 1
            if seen > MAX_GROUPS:
                raise DamagedPolicyError(f"its weights have more than {MAX_GROUPS} groups")
            path = f"{prefix}{name}"
            # Soft and external links could refer to other locations or other files.
            if not _NAME.fullmatch(name) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DamagedPolicyError(f"its weights hold a link or a name that is not allowed: {name[:80]!r}")
            child = group[name]
            if isinstance(child, h5py.Group):
                pending.append((f"{path}/", child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                _raise_if_not_plain(path, child)
                yield path, child
            else:
                raise DamagedPolicyError(f"its weights {path!r} are not an array")


def _raise_if_not_plain(path: str, dataset: Any) -> None:
    """Raise for arrays other than numbers stored contiguously in the file itself."""
    plain_layouts = (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if dataset.external is not None or dataset.id.get_create_plist().get_layout() not in plain_layouts:
        raise DamagedPolicyError(f"its weights {path!r} are stored in chunks, in another file or virtually")
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.kind not in _ARRAY_KINDS or dtype.itemsize > 8 or shape is None or len(shape) > MAX_RANK:
        raise DamagedPolicyError(f"its weights {path!r} are not an array of numbers")
    if dataset.id.get_storage_size() != math.prod(shape) * dtype.itemsize:
        raise DamagedPolicyError(f"its weights {path!r} are not stored as a whole")
