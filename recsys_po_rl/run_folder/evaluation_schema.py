"""Schema of evaluation.json, validated once on reading, so that consumers can rely on the content."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import readers

MAX_COUNT = 10**15  # maximum number of users, slates, steps
MAX_SEED = 2**32 - 1
_COMPARED = ("mean", "interval95", "num_users")  # keys of a policy that comparisons need
_Check = Callable[[str, Any], None]


def read(path: str) -> dict[str, Any]:
    """Read an evaluation.json file. Unknown keys and missing keys are allowed.

    Args:
      path: path of the file.

    Returns:
      The content: `policies` is present; entries that are present are valid (numbers are finite or None, intervals are
      ordered pairs of such numbers).

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a valid evaluation.json.
    """
    content = readers.json_object(path)
    name = os.path.basename(path)
    if "policies" not in content:
        raise validation.InvalidInputError(f"{name} has not the form that this project writes: it lacks policies")
    _evaluation(f"{name} has not the form that this project writes: ", content)
    return content


def raise_if_not_comparable(content: Mapping[str, Any], name: str) -> None:
    """Validate that an evaluation of one seed has the entries needed by comparisons.

    Args:
      content: result of `read`.
      name: name of the file, for messages.

    Raises:
      InvalidInputError: one line, if a seed, the horizon, or a policy's mean, interval or users are missing.
    """
    lead = f"{name} has not the form that this project writes: "
    _raise_if_lacking(f"{lead}it", content, ("seed", "corpus_seed", "horizon"))
    if not content["policies"]:
        raise validation.InvalidInputError(f"{lead}it has no policies")
    for policy, entry in content["policies"].items():
        _raise_if_lacking(f"{lead}policies.{validation.shown(policy)}", entry, _COMPARED)


def raise_if_not_shown(content: Mapping[str, Any], name: str) -> None:
    """Validate that an evaluation has the entries of the table printed on the terminal.

    Args:
      content: result of `read`, or content before writing.
      name: name of the file, for messages.

    Raises:
      InvalidInputError: one line, if a policy or its price lacks a number, or there are no policies.
    """
    lead = f"{name} has not the form that this project writes: "
    several = any("num_seeds" in entry for entry in content["policies"].values())
    needed: tuple[str, ...] = ("mean", "interval95", "minus_learned", "num_seeds" if several else "num_users")
    across = any("interquartile_mean" in entry for entry in content["policies"].values())
    needed += ("interquartile_mean", "probability_of_improvement") if across else ()
    _raise_if_lacking(f"{lead}it", content, ("horizon",))
    if not content["policies"]:
        raise validation.InvalidInputError(f"{lead}it has no policies")
    for policy, entry in content["policies"].items():
        _raise_if_lacking(f"{lead}policies.{validation.shown(policy)}", entry, needed)
        for part in ("minus_learned", "interquartile_mean", "probability_of_improvement"):
            if part in needed:
                _raise_if_lacking(f"{lead}policies.{validation.shown(policy)}.{part}", entry[part], ("mean",))
    price = content.get("price_of_partial_observability")
    if price:
        _raise_if_lacking(f"{lead}price_of_partial_observability", price, ("policies", "unit", "num_units"))
        for policy, entry in price["policies"].items():
            _raise_if_lacking(f"{lead}the price of {validation.shown(policy)}", entry, ("label", "mean", "interval95"))
            if "share_of_gap" not in entry or (entry["share_of_gap"] is not None and "share_interval95" not in entry):
                raise validation.InvalidInputError(
                    f"{lead}the price of {validation.shown(policy)} lacks its share of the gap"
                )
        if len(price["policies"]) > 1 and not {"gap", "differences"} <= set(price):
            raise validation.InvalidInputError(f"{lead}price_of_partial_observability lacks gap or differences")


def _raise_if_lacking(where: str, entry: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        if entry.get(key) is None:
            raise validation.InvalidInputError(f"{where} lacks {key}")


def _evaluation(where: str, content: Any) -> None:
    _each(where, content, _EVALUATION)


def _number(where: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _error(where, "a finite number", value)


def _count(minimum: int, maximum: int) -> _Check:
    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise _error(where, f"an integer between {minimum} and {maximum}", value)

    return check


def _interval(where: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise _error(where, "a pair of numbers", value)
    for bound in value:
        _number(where, bound)
    if None not in value and value[0] > value[1]:
        raise _error(where, "a pair of numbers in order", value)


def _bounds(where: str, value: Any) -> None:
    if value is not None:  # None where the mean is undefined
        _interval(where, value)


def _texts(where: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _error(where, "a list of texts", value)


def _mapping(check: _Check) -> _Check:
    def checked(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise _error(where, "an object", value)
        for key, item in value.items():
            check(f"{where}.{validation.shown(key, 60)}", item)

    return checked


def _list(check: _Check) -> _Check:
    def checked(where: str, value: Any) -> None:
        if not isinstance(value, list):
            raise _error(where, "a list", value)
        for place, item in enumerate(value):
            check(f"{where}[{place}]", item)

    return checked


def _record(fields: Mapping[str, _Check], needed: Sequence[str] = ()) -> _Check:
    def checked(where: str, value: Any) -> None:
        if not isinstance(value, dict) or any(key not in value for key in needed):
            raise _error(where, f"an object{' with ' if needed else ''}{', '.join(needed)}", value)
        _each(f"{where}.", value, fields)

    return checked


def _optional(check: _Check) -> _Check:
    def checked(where: str, value: Any) -> None:
        if value is not None:
            check(where, value)

    return checked


def _text(where: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _error(where, "a text", value)


def _scalar(where: str, value: Any) -> None:
    if not isinstance(value, (str, int, float, type(None))):
        raise _error(where, "a number or a text", value)


def _parameter(where: str, value: Any) -> None:
    """Validate a parameter of a world: a number, a text, or a (nested) list of numbers and texts."""
    if isinstance(value, list):
        for element in value:
            _parameter(where, element)
    else:
        _scalar(where, value)


def _each(where: str, content: Mapping[str, Any], fields: Mapping[str, _Check]) -> None:
    for key, check in fields.items():
        if key in content:
            check(f"{where}{key}", content[key])


def _error(where: str, allowed: str, value: Any) -> validation.InvalidInputError:
    return validation.InvalidInputError(
        f"{validation.cut(where, 300)} must be {allowed}, got {validation.shown(value, 60)}"
    )


_ESTIMATE: dict[str, _Check] = {"mean": _number, "interval95": _interval}
_SEED, _NUM = _count(0, MAX_SEED), _count(0, MAX_COUNT)
# Statistics over several runs; below ten runs the interval is not called a 95% interval.
_ACROSS: dict[str, _Check] = {
    **_ESTIMATE,
    "interval": _interval,
    "num_runs": _count(1, MAX_COUNT),
    "coverage": _record({"nominal": _number, "measured": _number}, ("nominal", "measured")),
}
_POLICY: dict[str, _Check] = {
    **_ESTIMATE,
    "mean_upstream_count": _number,
    "num_users": _count(1, MAX_COUNT),
    "num_seeds": _count(1, MAX_COUNT),
    "minus_learned": _record(_ESTIMATE, tuple(_ESTIMATE)),
    "interquartile_mean": _record(_ACROSS, ("mean", "num_runs", "coverage")),
    "probability_of_improvement": _record(_ACROSS, ("mean", "num_runs", "coverage")),
    "quarters": _mapping(_list(_number)),
    "quarters_interval95": _mapping(_list(_bounds)),
}
_PRICED: dict[str, _Check] = {
    **_ESTIMATE,
    "label": _text,
    "share_of_gap": _number,
    "share_interval95": _bounds,
}
_PRICE: dict[str, _Check] = {
    "unit": _scalar,
    "num_units": _NUM,
    "policies": _mapping(_record(_PRICED)),
    "gap": _optional(_record(_ESTIMATE, tuple(_ESTIMATE))),
    "differences": _list(_record({**_ESTIMATE, "of": _text, "minus": _text}, (*_ESTIMATE, "of", "minus"))),
}
_CHANGE: dict[str, _Check] = {"name": _text, "trained": _optional(_text), "evaluated": _optional(_text)}
_EVALUATION: dict[str, _Check] = {
    "policies": _mapping(_record(_POLICY)),
    "left_out": _mapping(_text),
    "full_information": _texts,
    "price_of_partial_observability": _optional(_record(_PRICE)),
    "horizon": _count(1, MAX_COUNT),
    "seed": _SEED,
    "corpus_seed": _SEED,
    "trained_seed": _SEED,
    "world": _optional(_mapping(_parameter)),
    "trained_in": _mapping(_parameter),
    "evaluated_in": _mapping(_parameter),
    "changed": _list(_record(_CHANGE, tuple(_CHANGE))),
    "learned_where_it_was_trained": _optional(_record({**_ESTIMATE, "horizon": _count(1, MAX_COUNT)}, (*_ESTIMATE,))),
    "best_step": _optional(_NUM),
}
_EVALUATION["per_seed"] = _list(_record(dict(_EVALUATION), ("policies",)))
