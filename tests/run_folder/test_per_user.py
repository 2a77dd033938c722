"""The file of what each user brought."""

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import per_user

TOTALS = {"learned": np.array([1.5, 2.0, 3.25]), "a/strange <name>": np.array([0.1, -1.0, 0.0])}


def test_what_is_written_is_read(tmp_path):
    per_user.save(str(tmp_path), TOTALS)
    found = per_user.load(str(tmp_path))
    assert list(found) == list(TOTALS)
    for name, totals in TOTALS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], totals.astype(np.float32))


def test_the_same_totals_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        per_user.save(str(tmp_path / name), TOTALS)
        contents.append((tmp_path / name / per_user.FILE).read_bytes())
    assert contents[0] == contents[1]


class Trap:
    """Says so if it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    "arrays",
    [
        {"totals": np.zeros((1, 2), np.float32)},
        {"policies": np.array(["a", "b"]), "totals": np.zeros((1, 2), np.float32)},
        {"policies": np.array(["a"]), "totals": np.zeros(2, np.float32)},
        {"policies": np.array(["a"]), "totals": np.array([["x"]])},
        {"policies": np.array([Trap()], dtype=object), "totals": np.zeros((1, 2), np.float32)},
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays):
    np.savez(tmp_path / per_user.FILE, **arrays)
    with pytest.raises(validation.InvalidInputError, match=r"per_user\.npz' cannot be read"):
        per_user.load(str(tmp_path))


def test_a_missing_a_truncated_and_a_foreign_file_are_refused(tmp_path):
    with pytest.raises(validation.InvalidInputError, match=r"has no per_user\.npz"):
        per_user.load(str(tmp_path))
    per_user.save(str(tmp_path), TOTALS)
    whole = (tmp_path / per_user.FILE).read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"no archive", b"\x93NUMPY\x01\x00"):
        (tmp_path / per_user.FILE).write_bytes(broken)
        with pytest.raises(validation.InvalidInputError, match="cannot be read") as caught:
            per_user.load(str(tmp_path))
        assert "\n" not in str(caught.value)
