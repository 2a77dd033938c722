"""Report sections on the quality of the policy: three sentences, the table of policies, the price."""

from collections.abc import Mapping
from typing import Any, Optional

from recsys_po_rl.common.formatting import (
    WithInterval,
    estimate,
    fixed,
    interval,
    is_number,
    percent,
    percent_interval,
)
from recsys_po_rl.evaluation import price as price_lib
from recsys_po_rl.evaluation.results import PolicyResult
from recsys_po_rl.reporting import tables
from recsys_po_rl.reporting.html import markup
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.reporting.tables import LEARNED
from recsys_po_rl.run_folder.schema import Evaluation

TWINS = ("learned_last", "learned_greedy")  # variants of the learned policy, not its competitors


def verdict(evaluation: Evaluation) -> list[str]:
    """Return three sentences with intervals about the quality of the learned policy."""
    return [_against_others(evaluation), _against_the_gap(evaluation), _users(evaluation.policies[LEARNED])]


def _against_others(evaluation: Evaluation) -> str:
    policies = evaluation.policies
    learned = policies[LEARNED]
    text = (
        f"The learned policy brings {estimate(learned)} of consumed time per user over {evaluation.horizon} slates "
        f"({tables.over(learned)}; brackets are 95% intervals)"
    )
    random = policies.get(price_lib.FLOOR)
    if random is not None:
        text += f", {_more(random)} than random slates"
    seeing = set(evaluation.full_information)
    rivals = [name for name in policies if name not in {LEARNED, price_lib.FLOOR, *TWINS, *seeing}]
    rivals = [name for name in rivals if not name.endswith("_reference")]
    if rivals:
        best = max(rivals, key=lambda name: policies[name].mean)
        text += f", and {_more(policies[best])} than {best}, the best that knows neither interests nor how users behave"
    return f"{text}."


def _more(other: PolicyResult) -> str:
    """Return the difference of the learned policy to another policy, in words."""
    difference = other.minus_learned
    less = difference.mean > 0
    bounds = (difference if less else difference.negated()).interval95
    low, high = bounds
    clear = low is not None and high is not None and not low <= 0.0 <= high
    unclear = "" if clear else ", which is not clear,"
    return f"{fixed(abs(difference.mean))} {interval(bounds)} {'less' if less else 'more'}{unclear}"


def _against_the_gap(evaluation: Evaluation) -> str:
    price = evaluation.price_of_partial_observability
    priced = None if price is None else price.policies.get(LEARNED)
    if priced is None or priced.share_of_gap is None:
        return "Its share of the gap is not known: the ends of the gap were not evaluated."
    text = (
        f"It closes {percent(priced.share_of_gap)} {percent_interval(priced.share_interval95)} of the gap between "
        "random slates and the reference that sees what users are interested in"
    )
    ceiling = evaluation.policies.get(price_lib.CEILING)
    if ceiling is not None:
        text += f", which brings {estimate(ceiling.minus_learned)} more than the learned policy"
    return f"{text}."


def _users(learned: PolicyResult) -> str:
    quarters: Mapping[str, Any] = learned.quarters or {}
    bounds: Mapping[str, Any] = learned.quarters_interval95 or {}

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
    known_turns = [f"{measure} {change}" for measure, change in turns.items() if change is not None]
    if not known_turns:
        return "The behaviour of its users is not known: it was not recorded."
    return f"The behaviour of its users, from the first quarter of the horizon to the last: {', '.join(known_turns)}."


def table(evaluation: Evaluation) -> list[Html]:
    """Return a table of all policies, best first, with intervals drawn and written."""
    policies = evaluation.policies
    names = tables.best_first(evaluation)
    seeing = set(evaluation.full_information)
    furthest = max([_upper(policies[name]) for name in names] + [0.0])
    rows = []
    for name in names:
        result = policies[name]
        label = [markup.name(name), f" {tables.SEES_INTEREST}" if name in seeing else ""]
        rows.append(
            [
                element("strong", label) if name == LEARNED else label,
                bar(result, furthest, name in seeing),
                with_interval(result),
                "" if name == LEARNED else with_interval(result.minus_learned, sign=True),
            ]
        )
    parts: list[Any] = [
        element("p", f"{tables.reward_caption(evaluation)}. Intervals are {tables.interval_note(evaluation)}."),
        markup.table(
            ["policy", "mean and interval", "mean", "minus learned"], rows, "Policies, best first", "policies"
        ),
    ]
    if seeing & set(names):
        parts.append(element("p", f"{tables.SEES_INTEREST_NOTE}.", class_="muted"))
    if evaluation.left_out:
        items = [[markup.name(name), tables.left_out(reason)] for name, reason in evaluation.left_out.items()]
        parts.append(markup.bulleted(items))
    return [markup.escaped(part) for part in parts]


def with_interval(entry: WithInterval, sign: bool = False) -> Html:
    """Return a mean and its interval, which moves to a line of its own on narrow pages."""
    shown = element("span", interval(entry.interval95, sign=sign), class_="interval")
    return markup.escaped([f"{fixed(entry.mean, sign=sign)} ", shown])


def bar(entry: WithInterval, furthest: float, informed: bool) -> Html:
    """Return a bar from 0 to the mean with a whisker for the interval; the numbers stand beside the bar."""
    if furthest <= 0:
        return element("div", class_="track", aria_hidden="true")
    parts = [element("i", style=f"width:{_share(entry.mean, furthest)}%", class_="informed" if informed else None)]
    low, high = (None if bound is None else _share(bound, furthest) for bound in entry.interval95)
    if low is not None and high is not None:
        parts.append(element("b", style=f"left:{low}%;width:{round(high - low, 2)}%"))
    return element("div", parts, class_="track", aria_hidden="true")


def price(evaluation: Evaluation) -> list[Html]:
    """Return the price of partial observability, as bars with intervals."""
    content = evaluation.price_of_partial_observability
    if content is None or len(content.policies) < 2:
        return [element("p", "There is nothing to compare: fewer than two of the policies were evaluated.")]
    furthest = max([_upper(priced) for priced in content.policies.values()] + [0.0])
    items = []
    for priced in content.policies.values():
        share = priced.share_of_gap
        closed = f"{percent(share)} {percent_interval(priced.share_interval95)} of the gap" if share is not None else ""
        numbers_shown = [with_interval(priced), element("span", closed, class_="share interval")]
        items.append(
            [
                element("span", priced.label),
                bar(priced, furthest, priced.sees_interest),
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
        "Reward lost because the recommender does not see what users are interested in: consumed time per user, with "
        f"95% intervals over {content.num_units} {content.unit}."
    )
    sentences = [] if content.gap is None else [f"{tables.gap_sentence(content.gap, estimate)}."]
    sentences += tables.difference_sentences(content, estimate, "brings")
    sentences += [tables.REFERENCE_NOTE] if tables.has_reference(content) else []
    parts: list[Any] = [
        element("p", explained),
        element("ul", [element("li", item) for item in items], class_="bars"),
        element("p", key, class_="muted"),
    ]
    parts.append(markup.bulleted(sentences) if sentences else None)
    return [markup.escaped(part) for part in parts]


def _upper(entry: WithInterval) -> float:
    return max(value for value in (*entry.interval95, entry.mean, 0.0) if value is not None)


def _share(value: float, furthest: float) -> float:
    return round(min(100.0, max(0.0, 100.0 * value / furthest)), 2)
