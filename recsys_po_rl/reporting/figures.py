"""Figures, drawn only from the content of evaluation.json.

matplotlib is imported when a figure is drawn, not with the package. Its global state (pyplot, and settings such as a
matplotlibrc) is neither changed nor used.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recsys_po_rl.common.formatting import plain
from recsys_po_rl.evaluation.results import PricedPolicy
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder import layout
from recsys_po_rl.run_folder.schema import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito (2008), distinguishable with any colour vision, and by hatches in greyscale.
HISTORIES_COLOUR = "#56B4E9"
INTEREST_COLOUR = "#E69F00"
INTEREST_HATCH = "//"
INTERVAL_COLOUR = "#000000"

WIDTH_INCHES = 9.0
ROW_INCHES = 0.55
FRAME_INCHES = 1.9  # height of title, axis and legend
DOTS_PER_INCH = 150


@contextlib.contextmanager
def _default_settings() -> Iterator[None]:
    """Use matplotlib's default settings during the block, regardless of matplotlibrc and the process."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def save_price_figure(evaluation: Evaluation, folder: str) -> None:
    """Write the figure of the price of partial observability into a run folder, if there are policies to compare.

    The figure is optional: a figure that cannot be drawn or written is omitted with a warning.

    Args:
      evaluation: see `price_figure`.
      folder: path of the run folder, which exists.
    """
    price = evaluation.price_of_partial_observability
    if price is None or not price.policies:
        return
    path = os.path.join(folder, layout.PRICE_FIGURE)
    try:
        save(price_figure(evaluation), path)
    except Exception as error:  # matplotlib, its settings and fonts may raise any exception
        why = " ".join(str(error).split())[:200]
        warnings.warn(f"{path!r} is left out: {type(error).__name__}: {why}", stacklevel=2)


@_default_settings()
def price_figure(evaluation: Evaluation) -> "Figure":
    """Draw the price of partial observability: a bar for each policy, with its interval and share of the gap.

    Args:
      evaluation: an evaluation with a price of partial observability and a horizon.

    Returns:
      A matplotlib figure, not registered with pyplot.

    Raises:
      ValueError: if the evaluation contains no policies to compare.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    price = evaluation.price_of_partial_observability
    if price is None or not price.policies:
        raise ValueError("the evaluation has no price_of_partial_observability to draw")
    entries = list(price.policies.values())
    figure = Figure(figsize=(WIDTH_INCHES, FRAME_INCHES + ROW_INCHES * len(entries)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(entries))
    axes.barh(
        places,
        [entry.mean for entry in entries],
        height=0.6,
        color=[INTEREST_COLOUR if entry.sees_interest else HISTORIES_COLOUR for entry in entries],
        hatch=[INTEREST_HATCH if entry.sees_interest else "" for entry in entries],
        edgecolor="white",
    )
    furthest = max(entry.mean for entry in entries)
    for place, entry in zip(places, entries):
        low, high = entry.interval95
        if low is not None and high is not None:
            axes.errorbar(
                entry.mean,
                place,
                xerr=[[entry.mean - low], [high - entry.mean]],
                color=INTERVAL_COLOUR,
                capsize=4,
                linewidth=1.5,
            )
            furthest = max(furthest, high)
    for place, entry in zip(places, entries):
        axes.text(1.01, place, _caption(entry), transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.text(
        1.01, -0.75, "mean; share of the gap closed", transform=axes.get_yaxis_transform(), fontsize=9, va="center"
    )
    axes.set_yticks(places, [entry.label for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -1.1)
    axes.set_xlim(min([0.0, *(entry.mean for entry in entries)]), furthest * 1.03 if furthest > 0 else None)
    axes.set_xlabel(
        f"consumed time per user over {evaluation.horizon} slates\n"
        f"(mean; 95% intervals over {price.num_units} {price.unit})"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("The price of partial observability", fontsize=13)
    figure.legend(
        handles=[
            Patch(facecolor=HISTORIES_COLOUR, label="sees histories at most"),
            Patch(facecolor=INTEREST_COLOUR, hatch=INTEREST_HATCH, edgecolor="white", label="sees the interest"),
        ],
        loc="outside lower right",
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    return figure


@_default_settings()
def save(figure: "Figure", path: str) -> None:
    """Write a figure atomically.

    Args:
      figure: a matplotlib figure.
      path: path of the file; the ending determines the format (png, svg, pdf), the folder exists.

    Raises:
      ValueError: if matplotlib does not support the format; nothing is written.
      OSError: if the file cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(path))
    content = io.BytesIO()
    figure.savefig(content, format=os.path.splitext(name)[1].removeprefix(".") or "png", dpi=DOTS_PER_INCH)
    layout.write_bytes(folder, name, content.getvalue())


def _caption(entry: PricedPolicy) -> str:
    share, bounds = entry.share_of_gap, entry.share_interval95
    mean = plain(entry.mean, ".1f")
    if share is None or bounds is None:
        return mean
    return f"{mean};  {tables.percent(share)} {tables.percent_interval(bounds)}"
