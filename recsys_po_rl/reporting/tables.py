"""Results as text: tables and sentences for a terminal, and the sentences that reports show too."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Optional

from recsys_po_rl.common.formatting import UNBOUNDED, UNKNOWN, WithInterval, plain
from recsys_po_rl.evaluation import price as price_lib
from recsys_po_rl.evaluation.results import MeanInterval, PolicyResult, Price
from recsys_po_rl.run_folder.schema import Evaluation

LEARNED = "learned"
SEES_INTEREST = "*"  # suffix of the names of policies with full information
SEES_INTEREST_NOTE = f"{SEES_INTEREST} sees the interest, which the others have to guess from histories"
REFERENCE_NOTE = "A reference is the value of a policy: the optimum is at least that, and a share can exceed 100%."
GAP_ENDS = (price_lib.FLOOR, price_lib.CEILING)

Bounds = Sequence[Optional[float]]  # an interval in evaluation.json; None: infinite


class _Sentence(NamedTuple):
    """Sentence about a difference; {} is the difference, {verb} the verb of a page or a terminal."""

    text: str
    reversed: Optional[str] = None  # for a negative difference
    on_terminal: bool = True


_SENTENCES: Mapping[tuple[str, str], _Sentence] = {
    ("learned_slates", "learned_clicks"): _Sentence(
        "Beside the clicks, remembering its own slates is worth {} to the learner."
    ),
    ("learned_step", "learned_clicks"): _Sentence("Beside the clicks, knowing the step is worth {} to the learner."),
    ("learned_slates_and_step", "learned_clicks"): _Sentence(
        "Beside the clicks, its own slates and the step together are worth {} to the learner."
    ),
    ("learned_interest", "learned_clicks"): _Sentence(
        "Seeing the interest, without the step, is worth {} to the learner that remembers clicks."
    ),
    ("learned_full_information", "learned_interest"): _Sentence(
        "Knowing the step is worth {} to the learner that sees the interest."
    ),
    ("learned_full_information", "learned_slates_and_step"): _Sentence(
        "Seeing the interest is worth {} to the learner that remembers clicks, slates and the step."
    ),
    ("learned_full_information", "learned_slates"): _Sentence(
        "Seeing the interest and the step is worth {} to the learner that remembers clicks and slates."
    ),
    ("learned_full_information", "learned_step"): _Sentence(
        "Seeing the interest is worth {} to the learner that remembers clicks and the step."
    ),
    ("learned_full_information", "learned_clicks"): _Sentence(
        "Seeing the interest and the step is worth {} to the learner."
    ),
    (price_lib.CEILING, "belief_reference"): _Sentence("Seeing the interest is worth {} to the reference."),
    ("belief_reference", LEARNED): _Sentence(
        "Without seeing the interest, the belief reference {verb} {} more than the learner.",
        "Without seeing the interest, the learner {verb} {} more than the belief reference.",
    ),
    (price_lib.CEILING, "learned_full_information"): _Sentence(
        "With the interest in sight, the reference {verb} {} more than the learner.",
        "With the interest in sight, the learner {verb} {} more than the reference.",
        on_terminal=False,
    ),
}


def reward_caption(evaluation: Evaluation) -> str:
    """Return the caption of a table of rewards."""
    return f"Cumulative consumed time per user over {evaluation.horizon} slates, mean over {over(first(evaluation))}"


def interval_note(evaluation: Evaluation) -> str:
    """Return the explanation of the intervals in a table of rewards."""
    unit = "users" if first(evaluation).num_seeds is None else "seeds"
    return f"95% t intervals over {unit}; differences are paired, on the same {unit} with the same random draws"


def over(result: PolicyResult) -> str:
    """Return the units over which a policy's result is a mean."""
    return f"{result.num_users} fresh users" if result.num_seeds is None else f"{result.num_seeds} seeds"


def first(evaluation: Evaluation) -> PolicyResult:
    """Return the result of the first policy: all have the same units."""
    return next(iter(evaluation.policies.values()))


def best_first(evaluation: Evaluation) -> list[str]:
    """Return the names of the policies by decreasing mean."""
    return sorted(evaluation.policies, key=lambda name: -evaluation.policies[name].mean)


def left_out(reason: str) -> str:
    """Return the text beside the name of a policy that was not evaluated."""
    return f": left out, {reason}"


def gap_sentence(gap: MeanInterval, show: Callable[[WithInterval], str]) -> str:
    """Return the sentence about the gap, without its full stop."""
    return f"The gap, from random slates to the reference that sees the interest, is {show(gap)}"


def difference_sentences(
    price: Price, show: Callable[[WithInterval], str], verb: str, on_terminal: bool = False
) -> list[str]:
    """Return sentences about the differences between policies with and without access to the interest.

    Args:
      price: the price of partial observability.
      show: formats a difference.
      verb: the verb for a policy and its reward.
      on_terminal: whether to leave out differences that only pages have room for.
    """
    texts = []
    for difference in price.differences:
        better, other = (_position(price, name) for name in (difference.of, difference.minus))
        sentence = _SENTENCES.get((better, other)) or _SENTENCES.get((difference.of, difference.minus))
        if sentence is None or (on_terminal and not sentence.on_terminal):
            continue
        text, shown = sentence.text, difference.estimate
        if difference.mean < 0 and sentence.reversed is not None:
            text, shown = sentence.reversed, difference.estimate.negated()
        texts.append(text.format(show(shown), verb=verb))
    return texts


def _position(price: Price, name: str) -> str:
    """Return the position of the dial that a policy has; that of `learned` in files without it: clicks."""
    return (price.learned_position or "learned_clicks") if name == LEARNED else name


def has_reference(price: Price) -> bool:
    """Return whether a policy of the price is a reference, which `REFERENCE_NOTE` explains."""
    return any(name.endswith("_reference") for name in price.policies)


def policy_table(evaluation: Evaluation) -> str:
    """Format the comparison of policies for a terminal, best first.

    Args:
      evaluation: the evaluation, see `schema.raise_if_not_shown`. Policies with full information are marked, policies
        that were left out are listed with their reason, and with several seeds a second table shows the measures
        across runs.
    """
    policies = evaluation.policies
    seeing = [name for name in evaluation.full_information if name in policies]
    names = best_first(evaluation)
    rows = [("policy", "mean", "95% interval", "minus learned", "95% interval")]
    for name in names:
        result = policies[name]
        difference = result.minus_learned
        paired = ("", "") if name == LEARNED else (plain(difference.mean, "+.2f"), interval(difference.interval95))
        shown = f"{name} {SEES_INTEREST}" if name in seeing else name
        rows.append((shown, plain(result.mean, ".2f"), interval(result.interval95), *paired))
    lines = [reward_caption(evaluation), f"({interval_note(evaluation)})", "", *aligned(rows)]
    if seeing:
        lines.append(SEES_INTEREST_NOTE)
    lines.extend(f"{name}{left_out(reason)}" for name, reason in evaluation.left_out.items())
    if first(evaluation).interquartile_mean is not None:
        lines.extend(["", *_across_runs(policies, names)])
    return "\n".join(lines)


def _across_runs(policies: Mapping[str, PolicyResult], names: Sequence[str]) -> list[str]:
    rows = [("policy", "interquartile mean", "interval", "P(learned is better)", "interval")]
    for name in names:
        middle, better = policies[name].interquartile_mean, policies[name].probability_of_improvement
        if middle is None or better is None:
            continue
        improvement = ("", "") if name == LEARNED else (plain(better.mean, ".2f"), interval(better.bounds))
        rows.append((name, plain(middle.mean, ".2f"), interval(middle.bounds), *improvement))
        measured = [statistic.coverage.measured for statistic in (middle, better)]
        about = middle
    worth = "how often they cover was not measured for so few runs)"
    if None not in measured:
        shares = " and ".join(percent(share) for share in measured)
        worth = f"they cover {shares} of the time, measured on normal scores)"
    return [
        f"Across {about.num_runs} runs (Agarwal et al. 2021; bootstrap intervals, nominally "
        f"{percent(about.coverage.nominal)};",
        worth,
        "",
        *aligned(rows),
    ]


def price_lines(evaluation: Evaluation) -> str:
    """Format the price of partial observability in a few lines; empty with fewer than two policies to compare.

    Args:
      evaluation: the evaluation, see `schema.raise_if_not_shown`.
    """
    price = evaluation.price_of_partial_observability
    if price is None or len(price.policies) < 2:
        return ""
    rows = [("", "mean", "95% interval", "of the gap", "95% interval")]
    for priced in price.policies.values():
        share, bounds = priced.share_of_gap, priced.share_interval95
        shares = ("", "") if share is None or bounds is None else (percent(share), percent_interval(bounds))
        rows.append((priced.label, plain(priced.mean, ".2f"), interval(priced.interval95), *shares))
    lines = [
        "The price of partial observability: reward lost because the recommender does not see the interest",
        f"(consumed time per user over {evaluation.horizon} slates; 95% intervals over {price.num_units} {price.unit},"
        " paired)",
        "",
        *aligned(rows),
        "",
    ]
    if price.gap is None:
        missing = [name for name in GAP_ENDS if name not in price.policies]
        reasons = evaluation.left_out
        lines.append(
            "The gap is not known: "
            + "; ".join(f"{name} is left out, {reasons.get(name, 'it was not asked for')}" for name in missing)
            + "."
        )
    else:
        lines.append(f"{gap_sentence(price.gap, estimate)} per user.")
        low = price.gap.interval95[0]
        if low is None or low <= 0.0:
            lines.append(f"It is not clearly above 0 on these {price.unit}: shares of it mean little.")
    lines += difference_sentences(price, estimate, "gets", on_terminal=True)
    if has_reference(price):
        lines.append(REFERENCE_NOTE)
    return "\n".join(lines)


def which_is_which(evaluation: Evaluation, run: str) -> str:
    """Format the worlds in which the policy was trained and is evaluated, in a few lines.

    Args:
      evaluation: the evaluation of a trained policy.
      run: the run folder, as it was given.
    """
    lines = [f"trained in {run}", "evaluated in the same world, on the same users"]
    if evaluation.changed:
        lines[1] = "evaluated with"
        rows = [
            (
                f"  {change.name} = {change.evaluated or '(not bound)'}",
                f"(trained with {change.trained or 'its default'})",
            )
            for change in evaluation.changed
        ]
        width = max(len(now) for now, _ in rows)
        lines.extend(f"{now.ljust(width)}  {then}" for now, then in rows)
    for of_seed in evaluation.by_seed:
        own = of_seed.learned_where_it_was_trained
        seed = "" if evaluation.per_seed is None else f"seed {of_seed.trained_seed}: "
        if own is not None:
            low, high = (float("nan") if bound is None else bound for bound in own.interval95)
            reached = of_seed.policies[LEARNED]
            lines.append(
                f"{seed}learned reaches {reached.mean:.2f} here, and {own.mean:.2f} [{low:.2f}, {high:.2f}] over "
                f"{own.horizon} slates where it was trained"
            )
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column is left-aligned, the others right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]


def estimate(entry: WithInterval) -> str:
    """Return a mean with its interval, for a terminal."""
    return f"{plain(entry.mean, '.2f')} {interval(entry.interval95)}"


def interval(bounds: Bounds) -> str:
    """Return an interval, for a terminal."""
    low, high = bounds
    return UNBOUNDED if low is None or high is None else f"[{plain(low, '.2f')}, {plain(high, '.2f')}]"


def percent(share: Optional[float]) -> str:
    """Return a share in whole percent, for a terminal."""
    return UNKNOWN if share is None else plain(share, ".0%")


def percent_interval(bounds: Bounds) -> str:
    """Return an interval of shares, for a terminal."""
    low, high = bounds
    return UNBOUNDED if low is None or high is None else f"[{percent(low)}, {percent(high)}]"
