"""Results of a pretraining as text: a table for a terminal, and the sentences that its page shows too."""

from recsys_po_rl.common.formatting import WithInterval, plain
from recsys_po_rl.evaluation.ranking import MEASURES
from recsys_po_rl.reporting.tables import aligned
from recsys_po_rl.run_folder.pretraining_file import Measures, Pretraining

NAMES = {
    "scorer": "pretrained scorer",
    "popularity": "popularity",
    "random": "random ranking",
}
INTERVAL_NOTE = "Means over test users of their own means, with 95% t intervals; differences are paired by user."
RANKING_NOTE = "All documents are ranked; the one that the user consumed next is the relevant one."


def caption(record: Pretraining) -> str:
    """Return the caption of the table of measures."""
    users = record.log.num_users
    return (
        f"Next document of {users.test:,} test users, among {record.num_docs} documents "
        f"({users.training:,} users trained on, {users.validation:,} for stopping)"
    )


def training_sentence(record: Pretraining) -> str:
    """Return the sentence about the length of the training, and the weights of its loss."""
    text = f"{record.scorer}: weights of epoch {record.best_epoch} of {record.num_epochs}."
    if record.inverse_propensity is not None:
        weights = record.inverse_propensity
        text += (
            f" Inverse-propensity weights of at most {weights.max_weight:g}: {weights.share_clipped:.1%} of the clicks "
            f"are clipped, their effective number is {weights.effective_sample_size:,.0f}."
        )
    return text


def rows(record: Pretraining) -> list[tuple[str, Measures]]:
    """Return the label and the measures of each row of the table: rankings, then differences."""
    measured = [(NAMES[name], record.measures[name]) for name in NAMES if name in record.measures]
    differences = [
        (f"scorer minus {NAMES[name]}", record.scorer_minus[name]) for name in NAMES if name in record.scorer_minus
    ]
    return [*measured, *differences]


def heading(measure: str) -> str:
    """Return the heading of a measure's column, such as "NDCG at 5"."""
    return measure.replace("_at_", " at ").replace("hit_rate", "hit rate").replace("ndcg", "NDCG")


def cell(label: str, entry: WithInterval) -> str:
    """Return a mean and its interval, three digits after the decimal point; differences have a sign."""
    spec = "+.3f" if label.startswith("scorer minus") else ".3f"
    low, high = entry.interval95
    bounds = "[unbounded]" if low is None or high is None else f"[{plain(low, spec)}, {plain(high, spec)}]"
    return f"{plain(entry.mean, spec)} {bounds}"


def table(record: Pretraining) -> str:
    """Format the measures for a terminal."""
    lines = [("", *(heading(measure) for measure in MEASURES))]
    lines += [
        (label, *(cell(label, by_measure[measure]) if measure in by_measure else "" for measure in MEASURES))
        for label, by_measure in rows(record)
    ]
    return "\n".join([caption(record), "", *aligned(lines), "", RANKING_NOTE, INTERVAL_NOTE, training_sentence(record)])
