"""Console output: a progress bar on a terminal, plain lines elsewhere, tables of results."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import tqdm

from recsys_po_rl.common import output
from recsys_po_rl.common.formatting import plain
from recsys_po_rl.evaluation import price as price_lib
from recsys_po_rl.training.rows import TrainingRow

LINES_WITHOUT_TERMINAL = 10  # progress lines of a training without a terminal
SECONDS_BETWEEN_LINES = 30.0  # longest time between two progress lines
SEES_INTEREST = "*"  # suffix of the names of policies with full information
UNBOUNDED = "[unbounded]"  # text of an interval over too few units
GAP_ENDS = (price_lib.FLOOR, price_lib.CEILING)

Bounds = Sequence[Optional[float]]  # an interval in evaluation.json; None: infinite

_SENTENCES = {
    ("learned_full_information", "learned"): "Seeing the interest and the step is worth {} to the learner.",
    (price_lib.CEILING, "belief_reference"): "Seeing the interest is worth {} to the reference.",
    ("belief_reference", "learned"): "Without seeing the interest, the belief reference gets {} more than the learner.",
}
_REVERSED = {  # used if the difference is negative
    ("belief_reference", "learned"): "Without seeing the interest, the learner gets {} more than the belief reference.",
}


class TrainingProgress:
    """Progress display of one training: a bar on a terminal, otherwise occasional lines."""

    def __init__(self, num_steps: int, seed: int, quiet: bool = False, done: int = 0) -> None:
        """Open the progress bar, on a terminal.

        Args:
          num_steps: steps of the whole training.
          seed: seed of the run, displayed.
          quiet: whether to show nothing.
          done: steps completed before.
        """
        self._num_steps = num_steps
        self._done = done
        self._quiet = quiet
        self._started = self._last_line = time.monotonic()
        self._every = max(1, num_steps // LINES_WITHOUT_TERMINAL)
        self._bar: Optional[Any] = None
        if not quiet and num_steps > done and output.is_terminal():
            self._bar = tqdm.tqdm(
                total=num_steps,
                initial=done,
                desc=f"training, seed {seed}",
                unit="step",
                dynamic_ncols=True,
                file=output.ErrorStream(),
            )

    def update(self, row: TrainingRow) -> None:
        """Show a completed step."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"reward {plain(row.mean_reward, '.1f')}, gradient {row.gradient_norm:.2f}, entropy {row.entropy:.2f}, "
                f"{row.user_steps_per_second:,.0f} user-steps/s",
                refresh=False,
            )
            self._bar.update()
        elif not self._quiet:
            now = time.monotonic()
            due = row.step in (self._done + 1, self._num_steps) or row.step % self._every == 0
            if due or now - self._last_line > SECONDS_BETWEEN_LINES:
                self._last_line = now
                left = (now - self._started) / (row.step - self._done) * (self._num_steps - row.step)
                output.say(
                    f"step {row.step}/{self._num_steps}  reward {plain(row.mean_reward, '.1f')}  "
                    f"gradient {row.gradient_norm:.2f}  entropy {row.entropy:.2f}  "
                    f"{row.user_steps_per_second:,.0f} user-steps/s  {left:.0f} s left"
                )

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.clear()
            output.say(line)
            self._bar.refresh()
        elif not self._quiet:
            output.say(line)

    def close(self) -> None:
        """Close the bar and leave it on the terminal."""
        if self._bar is not None:
            self._bar.close()


def policy_table(evaluation: Mapping[str, Any], horizon: int) -> str:
    """Format the comparison of policies, best first.

    Args:
      evaluation: content of evaluation.json. Policies named under full_information are marked, policies under left_out
        are listed with their reason, and with several seeds a second table shows the measures across runs.
      horizon: T.
    """
    policies = evaluation["policies"]
    one = next(iter(policies.values()))
    several = "num_seeds" in one
    over = f"{one['num_seeds']} seeds" if several else f"{one['num_users']} fresh users"
    unit = "seeds" if several else "users"
    seeing = [name for name in evaluation.get("full_information", []) if name in policies]
    names = sorted(policies, key=lambda name: -policies[name]["mean"])
    rows = [("policy", "mean", "95% interval", "minus learned", "95% interval")]
    for name in names:
        entry = policies[name]
        difference = entry["minus_learned"]
        paired = (
            ("", "") if name == "learned" else (plain(difference["mean"], "+.2f"), _interval(difference["interval95"]))
        )
        shown = f"{name} {SEES_INTEREST}" if name in seeing else name
        rows.append((shown, plain(entry["mean"], ".2f"), _interval(entry["interval95"]), *paired))
    lines = [
        f"Cumulative consumed time per user over {horizon} slates, mean over {over}",
        f"(95% t intervals over {unit}; differences are paired, on the same {unit} with the same luck)",
        "",
        *_aligned(rows),
    ]
    if seeing:
        lines.append(f"{SEES_INTEREST} sees the interest, which the others have to guess from histories")
    lines.extend(f"{name}: left out, {reason}" for name, reason in evaluation.get("left_out", {}).items())
    if several and "interquartile_mean" in one:
        lines.extend(["", *_across_runs(policies, names)])
    return "\n".join(lines)


def _across_runs(policies: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    rows = [("policy", "interquartile mean", "interval", "P(learned is better)", "interval")]
    for name in names:
        middle, better = policies[name]["interquartile_mean"], policies[name]["probability_of_improvement"]
        improvement = ("", "") if name == "learned" else (plain(better["mean"], ".2f"), _interval(_bootstrap(better)))
        rows.append((name, plain(middle["mean"], ".2f"), _interval(_bootstrap(middle)), *improvement))
    measured = [of["coverage"]["measured"] for of in (middle, better)]
    worth = "how often they cover was not measured for so few runs)"
    if None not in measured:
        shares = " and ".join(plain(share, ".0%") for share in measured)
        worth = f"they cover {shares} of the time, measured on normal scores)"
    return [
        f"Across {middle['num_runs']} runs (Agarwal et al. 2021; bootstrap intervals, nominally "
        f"{_percent(middle['coverage']['nominal'])};",
        worth,
        "",
        *_aligned(rows),
    ]


def price_lines(evaluation: Mapping[str, Any]) -> str:
    """Format the price of partial observability in a few lines; empty with fewer than two policies to compare.

    Args:
      evaluation: content of evaluation.json, of which price_of_partial_observability (see `evaluation.price`), horizon
        and left_out are read.
    """
    price = evaluation.get("price_of_partial_observability")
    if not price or len(price["policies"]) < 2:
        return ""
    policies, unit = price["policies"], price["unit"]
    rows = [("", "mean", "95% interval", "of the gap", "95% interval")]
    for entry in policies.values():
        share = entry["share_of_gap"]
        shares = ("", "") if share is None else (_percent(share), _percent_interval(entry["share_interval95"]))
        rows.append((entry["label"], plain(entry["mean"], ".2f"), _interval(entry["interval95"]), *shares))
    lines = [
        "The price of partial observability: what is lost because the recommender does not see the interest",
        f"(consumed time per user over {evaluation['horizon']} slates; 95% intervals over {price['num_units']} {unit},"
        " paired)",
        "",
        *_aligned(rows),
        "",
    ]
    gap = price["gap"]
    if gap is None:
        missing = [name for name in GAP_ENDS if name not in policies]
        reasons = evaluation.get("left_out", {})
        lines.append(
            "The gap is not known: "
            + "; ".join(f"{name} is left out, {reasons.get(name, 'it was not asked for')}" for name in missing)
            + "."
        )
    else:
        lines.append(
            f"The gap, from random slates to the reference that sees the interest, is {_estimate(gap)} per user."
        )
        if gap["interval95"][0] is None or gap["interval95"][0] <= 0.0:
            lines.append(f"It is not clearly above 0 on these {unit}: shares of it mean little.")
    for difference in price["differences"]:
        pair = difference["of"], difference["minus"]
        if difference["mean"] < 0 and pair in _REVERSED:
            lines.append(_REVERSED[pair].format(_estimate(_negated(difference))))
        elif pair in _SENTENCES:
            lines.append(_SENTENCES[pair].format(_estimate(difference)))
    if any(name.endswith("_reference") for name in policies):
        lines.append("A reference is the value of a policy: the optimum is at least that, and a share can exceed 100%.")
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return lines


def _bootstrap(entry: Mapping[str, Any]) -> Bounds:
    return entry["interval95"] if "interval95" in entry else entry["interval"]


def _estimate(entry: Mapping[str, Any]) -> str:
    return f"{plain(entry['mean'], '.2f')} {_interval(entry['interval95'])}"


def _negated(entry: Mapping[str, Any]) -> dict[str, Any]:
    low, high = entry["interval95"]
    return {"mean": -entry["mean"], "interval95": [None if end is None else -end for end in (high, low)]}


def _interval(bounds: Bounds) -> str:
    low, high = bounds
    if low is None or high is None:
        return UNBOUNDED
    return f"[{plain(low, '.2f')}, {plain(high, '.2f')}]"


def _percent(share: Optional[float]) -> str:
    return "unknown" if share is None else plain(share, ".0%")


def _percent_interval(bounds: Bounds) -> str:
    if any(bound is None for bound in bounds):
        return UNBOUNDED
    return f"[{_percent(bounds[0])}, {_percent(bounds[1])}]"
