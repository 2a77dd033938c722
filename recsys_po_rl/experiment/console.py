"""Console output of a training: a progress bar on a terminal, plain lines elsewhere."""

import time
from typing import Any, Optional

import tqdm

from recsys_po_rl.common import output
from recsys_po_rl.common.formatting import plain
from recsys_po_rl.training.rows import TrainingRow

LINES_WITHOUT_TERMINAL = 10  # progress lines of a training without a terminal
SECONDS_BETWEEN_LINES = 30.0  # longest time between two progress lines


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
