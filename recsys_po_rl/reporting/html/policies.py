"""Report sections on the quality of the policy: three sentences, the table of policies, the price."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from recsys_po_rl.common import formatting
from recsys_po_rl.common.formatting import estimate, fixed, interval, is_interval, is_number, percent, percent_interval
from recsys_po_rl.evaluation import price as price_lib
from recsys_po_rl.reporting.html import markup
from recsys_po_rl.reporting.html.markup import Html, element

LEARNED = "learned"
TWINS = ("learned_last", "learned_greedy")  # variants of the learned policy, not its competitors


def verdict(evaluation: Mapping[str, Any]) -> list[str]:
    """Return three sentences with intervals about the quality of the learned policy."""
    policies, horizon = evaluation["policies"], evaluation["horizon"]
    return [
        _against_others(evaluation, policies, horizon),
        _against_the_gap(evaluation, policies),
        _users(policies[LEARNED]),
    ]


def _against_others(evaluation: Mapping[str, Any], policies: Mapping[str, Any], horizon: int) -> str:
    learned = policies[LEARNED]
    text = (
        f"The learned policy brings {estimate(learned)} of consumed time per user over {horizon} slates "
        f"({_over(learned)}; brackets are 95% intervals)"
    )
    random = policies.get(price_lib.FLOOR)
    if random is not None:
        text += f", {_more(random)} than random slates"
    seeing = set(evaluation.get("full_information", []))
    rivals = [name for name in policies if name not in {LEARNED, price_lib.FLOOR, *TWINS, *seeing}]
    rivals = [name for name in rivals if not name.endswith("_reference")]
    if rivals:
        best = max(rivals, key=lambda name: policies[name]["mean"])
        text += f", and {_more(policies[best])} than {best}, the best that knows neither interests nor how users behave"
    return f"{text}."


def _more(other: Mapping[str, Any]) -> str:
    """Return the difference of the learned policy to another policy, in words."""
    difference = other["minus_learned"]
    less = difference["mean"] > 0
    bounds = (difference if less else _negated(difference))["interval95"]
    clear = is_interval(bounds) and not bounds[0] <= 0.0 <= bounds[1]
    unclear = "" if clear else ", which is not clear,"
    return f"{fixed(abs(difference['mean']))} {interval(bounds)} {'less' if less else 'more'}{unclear}"


def _against_the_gap(evaluation: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    price = evaluation.get("price_of_partial_observability") or {}
    entry = (price.get("policies") or {}).get(LEARNED)
    if not entry or entry.get("share_of_gap") is None:
        return "How much of the possible it reaches is not known: the ends of the gap were not evaluated."
    text = (
        f"It closes {percent(entry['share_of_gap'])} {percent_interval(entry['share_interval95'])} of the gap between "
        "random slates and the reference that sees what users are interested in"
    )
    ceiling = policies.get(price_lib.CEILING)
    if ceiling is not None:
        text += f", which brings {_signed_more(ceiling)} than the learned policy"
    return f"{text}."


def _negated(entry: Mapping[str, Any]) -> dict[str, Any]:
    bounds = entry["interval95"]
    turned = [-bound for bound in reversed(bounds)] if is_interval(bounds) else bounds
    return {"mean": -entry["mean"], "interval95": turned}


def _signed_more(other: Mapping[str, Any]) -> str:
    difference = other["minus_learned"]
    return f"{fixed(difference['mean'])} {interval(difference['interval95'])} more"


def _users(learned: Mapping[str, Any]) -> str:
    quarters, bounds = learned.get("quarters") or {}, learned.get("quarters_interval95") or {}

    def turn(measure: str, show: Any, show_interval: Any) -> Optional[str]:
        values, of_values = quarters.get(measure), bounds.get(measure)
        if not values or not of_values or not is_number(values[0]) or not is_number(values[-1]):
            return None
        first, last = (f"{show(values[at])} {show_interval(of_values[at])}" for at in (0, -1))
        return f"from {first} to {last}"

    turns = {
        "the mean quality of what they consume goes": turn(
            "mean_quality_consumed", lambda value: fixed(value, sign=True), lambda ends: interval(ends, sign=True)
        ),
        "their click rate": turn("click_rate", percent, percent_interval),
        "the distance from their first interest": turn("interest_drift", fixed, interval),
    }
    known_turns = [f"{what} {how}" for what, how in turns.items() if how is not None]
    if not known_turns:
        return "What happens to its users is not known: their behaviour was not recorded."
    return f"What happens to its users, from the first quarter of the horizon to the last: {', '.join(known_turns)}."


def _over(entry: Mapping[str, Any]) -> str:
    return f"{entry['num_seeds']} seeds" if "num_seeds" in entry else f"{entry['num_users']} fresh users"


def table(evaluation: Mapping[str, Any]) -> list[Html]:
    """Return a table of all policies, best first, with intervals drawn and written."""
    policies = evaluation["policies"]
    names = sorted(policies, key=lambda name: -_mean(policies[name]))
    seeing = set(evaluation.get("full_information", []))
    furthest = max([_upper(policies[name]) for name in names] + [0.0])
    unit = "seeds" if "num_seeds" in policies[names[0]] else "users"
    rows = []
    for name in names:
        entry = policies[name]
        difference = entry["minus_learned"]
        label = [markup.name(name), " *" if name in seeing else ""]
        rows.append(
            [
                element("strong", label) if name == LEARNED else label,
                bar(entry, furthest, name in seeing),
                with_interval(entry),
                "" if name == LEARNED else with_interval(difference, sign=True),
            ]
        )
    parts: list[Any] = [
        element(
            "p",
            f"Cumulative consumed time per user over {evaluation['horizon']} slates, mean over "
            f"{_over(policies[names[0]])}. Intervals are 95% t intervals over {unit}; differences are paired, on the "
            f"same {unit} with the same luck.",
        ),
        markup.table(
            ["policy", "mean and interval", "mean", "minus learned"], rows, "Policies, best first", "policies"
        ),
    ]
    if seeing & set(names):
        parts.append(
            element("p", "* sees the interest, which the others have to guess from histories.", class_="muted")
        )
    left_out = evaluation.get("left_out") or {}
    if left_out:
        items = [[markup.name(name), f": left out, {reason}"] for name, reason in left_out.items()]
        parts.append(markup.bulleted(items))
    return [markup.escaped(part) for part in parts]


def with_interval(entry: Mapping[str, Any], sign: bool = False) -> Html:
    """Return a mean and its interval, which moves to a line of its own on narrow pages."""
    shown = element("span", interval(entry["interval95"], sign=sign), class_="interval")
    return markup.escaped([f"{fixed(entry['mean'], sign=sign)} ", shown])


def bar(entry: Mapping[str, Any], furthest: float, informed: bool) -> Html:
    """Return a bar from 0 to the mean with a whisker for the interval; the numbers stand beside the bar."""
    if not is_number(entry["mean"]) or furthest <= 0:
        return element("div", class_="track", aria_hidden="true")
    parts = [element("i", style=f"width:{_share(entry['mean'], furthest)}%", class_="informed" if informed else None)]
    bounds = entry["interval95"]
    if is_interval(bounds):
        low, high = (_share(bound, furthest) for bound in bounds)
        parts.append(element("b", style=f"left:{low}%;width:{round(high - low, 2)}%"))
    return element("div", parts, class_="track", aria_hidden="true")


def price(evaluation: Mapping[str, Any]) -> list[Html]:
    """Return the price of partial observability, as bars with intervals."""
    content = evaluation.get("price_of_partial_observability") or {}
    entries = list((content.get("policies") or {}).values())
    if len(entries) < 2:
        return [element("p", "There is nothing to compare: fewer than two of the policies were evaluated.")]
    furthest = max([_upper(entry) for entry in entries] + [0.0])
    items = []
    for entry in entries:
        share = entry["share_of_gap"]
        closed = (
            f"{percent(share)} {percent_interval(entry['share_interval95'])} of the gap" if share is not None else ""
        )
        numbers_shown = [with_interval(entry), element("span", closed, class_="share interval")]
        items.append(
            [
                element("span", entry["label"]),
                bar(entry, furthest, bool(entry["sees_interest"])),
                element("span", numbers_shown),
            ]
        )
    key = [
        element("span", element("i"), class_="track key", aria_hidden="true"),
        " sees histories at most, ",
        element("span", element("i", class_="informed"), class_="track key", aria_hidden="true"),
        " (hatched) sees the interest.",
    ]
    explained = (
        "What is lost because the recommender does not see what users are interested in: consumed time per user, with "
        f"95% intervals over {content.get('num_units')} {content.get('unit')}."
    )
    parts: list[Any] = [
        element("p", explained),
        element("ul", [element("li", item) for item in items], class_="bars"),
        element("p", key, class_="muted"),
    ]
    parts.append(markup.bulleted(_price_sentences(content)) if _price_sentences(content) else None)
    return [markup.escaped(part) for part in parts]


_DIFFERENCES = {
    ("learned_full_information", "learned"): "Seeing the interest and the step is worth {} to the learner.",
    ("full_information_reference", "belief_reference"): "Seeing the interest is worth {} to the reference.",
    ("belief_reference", "learned"):
        "Without seeing the interest, the belief reference brings {} more than the learner.",
    ("full_information_reference", "learned_full_information"):
        "With the interest in sight, the reference brings {} more than the learner.",
}  # fmt: skip
_REVERSED = {  # for negative differences
    ("belief_reference", "learned"):
        "Without seeing the interest, the learner brings {} more than the belief reference.",
    ("full_information_reference", "learned_full_information"):
        "With the interest in sight, the learner brings {} more than the reference.",
}  # fmt: skip


def _price_sentences(content: Mapping[str, Any]) -> list[str]:
    sentences = []
    if content.get("gap"):
        sentences.append(
            f"The gap, from random slates to the reference that sees the interest, is {estimate(content['gap'])}."
        )
    for difference in content.get("differences") or ():
        pair = difference["of"], difference["minus"]
        if difference["mean"] < 0 and pair in _REVERSED:
            sentences.append(_REVERSED[pair].format(estimate(_negated(difference))))
        elif pair in _DIFFERENCES:
            sentences.append(_DIFFERENCES[pair].format(estimate(difference)))
    if any(name.endswith("_reference") for name in content["policies"]):
        sentences.append(
            "A reference is the value of a policy: the optimum is at least that, and a share can exceed 100%."
        )
    return sentences


def _mean(entry: Mapping[str, Any]) -> float:
    return float(entry["mean"]) if is_number(entry["mean"]) else float("-inf")


def _upper(entry: Mapping[str, Any]) -> float:
    bounds: Sequence[Any] = entry["interval95"]
    return max(value for value in (*bounds, entry["mean"], 0.0) if formatting.is_number(value))


def _share(value: float, furthest: float) -> float:
    return round(min(100.0, max(0.0, 100.0 * value / furthest)), 2)
