"""What a person sees: a progress bar on a terminal, plain lines elsewhere, a table at the end."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Optional

import tqdm

from recsys_po_rl.training.trainer import TrainingRow

LINES_WITHOUT_TERMINAL = 10  # lines over a whole training, where there is no terminal
SECONDS_BETWEEN_LINES = 30.0  # and at least one line in that time


class TrainingProgress:
    """Progress of one training: a bar on a terminal, else a line now and then."""

    def __init__(self, num_steps: int, seed: int, quiet: bool = False) -> None:
        """Shows the beginning.

        Args:
          num_steps: training steps to come.
          seed: seed of the run, shown.
          quiet: whether to show nothing.
        """
        self._num_steps = num_steps
        self._quiet = quiet
        self._started = self._last_line = time.monotonic()
        self._every = max(1, num_steps // LINES_WITHOUT_TERMINAL)
        self._bar: Optional[Any] = None
        if not quiet and num_steps and sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=num_steps, desc=f"training, seed {seed}", unit="step", dynamic_ncols=True)

    def update(self, row: TrainingRow) -> None:
        """Shows a step that is done."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"reward {row.mean_reward:.1f}, gradient {row.gradient_norm:.2f}, entropy {row.entropy:.2f}, "
                f"{row.user_steps_per_second:,.0f} user-steps/s",
                refresh=False,
            )
            self._bar.update()
        elif not self._quiet:
            now = time.monotonic()
            due = row.step in (1, self._num_steps) or row.step % self._every == 0
            if due or now - self._last_line > SECONDS_BETWEEN_LINES:
                self._last_line = now
                left = (now - self._started) / row.step * (self._num_steps - row.step)
                print(
                    f"step {row.step}/{self._num_steps}  reward {row.mean_reward:.1f}  "
                    f"gradient {row.gradient_norm:.2f}  entropy {row.entropy:.2f}  "
                    f"{row.user_steps_per_second:,.0f} user-steps/s  {left:.0f} s left",
                    flush=True,
                )

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def policy_table(evaluation: Mapping[str, Any], horizon: int) -> str:
    """The policies of an evaluation.json as a table, best first."""
    policies: Mapping[str, Any] = evaluation["policies"]
    some = next(iter(policies.values()))
    over = f"{some['num_seeds']} seeds" if "num_seeds" in some else f"{some['num_users']} fresh users"
    unit = "seeds" if "num_seeds" in some else "users"
    rows = [("policy", "mean", "95% interval", "minus learned", "95% interval")]
    for name, entry in sorted(policies.items(), key=lambda item: -item[1]["mean"]):
        difference = entry["minus_learned"]
        paired = ("", "") if name == "learned" else (f"{difference['mean']:+.2f}", _interval(difference["interval95"]))
        rows.append((name, f"{entry['mean']:.2f}", _interval(entry["interval95"]), *paired))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"Cumulative consumed time per user over {horizon} slates, mean over {over}",
        f"(95% t intervals over {unit}; differences are paired, on the same {unit} with the same luck)",
        "",
    ]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    lines.extend(f"{name}: left out, {reason}" for name, reason in evaluation.get("left_out", {}).items())
    return "\n".join(lines)


def _interval(bounds: list[float]) -> str:
    return f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"
