"""Hit rate and NDCG of the documents that users consumed next, ties counted by their expectation.

A scorer ranks all D documents; the one that the user consumed next is the only relevant one. With g documents of higher
score and e of equal score, itself included, its rank is uniform in g + 1, ..., g + e when ties are broken at random.
The measures are expectations over this rank: constant scores have exactly the values of a random ranking.

NDCG: Jarvelin and Kekalainen 2002, "Cumulated gain-based evaluation of IR techniques"; with one relevant document the
ideal gain is 1. Expectations under ties: McSherry and Najork 2008, "Computing information retrieval performance
measures efficiently in the presence of tied scores".
"""

from typing import NamedTuple

import numpy as np

CUTOFFS = (5, 10)


class Ranks(NamedTuple):
    """Places of the documents consumed next among all documents."""

    higher: np.ndarray  # int64 [C], documents of higher score
    equal: np.ndarray  # int64 [C], documents of equal score, itself included


def ranks(scores: np.ndarray, doc_ids: np.ndarray) -> Ranks:
    """Return the places of documents by their scores.

    Args:
      scores: float [C, D], or [D], the same for all rows; column d - 1 belongs to document d.
      doc_ids: int [C], 1 to D.

    Raises:
      ValueError: if a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    if scores.ndim == 1:
        in_order = np.sort(scores)
        own = scores[doc_ids - 1]
        first, last = (np.searchsorted(in_order, own, side) for side in ("left", "right"))
        return Ranks(len(scores) - last, last - first)
    own = np.take_along_axis(scores, doc_ids[:, np.newaxis].astype(np.int64) - 1, axis=1)
    return Ranks((scores > own).sum(axis=1), (scores == own).sum(axis=1))


def hit_rate(places: Ranks, cutoff: int) -> np.ndarray:
    """Return the probability that a document is among the first `cutoff`; float64 [C]."""
    return np.clip((cutoff - places.higher) / places.equal, 0.0, 1.0)


def ndcg(places: Ranks, cutoff: int) -> np.ndarray:
    """Return the expected discounted gain of a document, 1 / log2(1 + rank) up to rank `cutoff`; float64 [C]."""
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, cutoff + 2)))])  # of the first 0, 1, ... ranks
    best, worst = (np.minimum(rank, cutoff) for rank in (places.higher, places.higher + places.equal))
    return (gains[worst] - gains[best]) / places.equal


def measures(places: Ranks) -> dict[str, np.ndarray]:
    """Return hit rates and NDCG at `CUTOFFS`, float64 [C] by name, such as ndcg_at_5."""
    by_name = {f"hit_rate_at_{cutoff}": hit_rate(places, cutoff) for cutoff in CUTOFFS}
    return {**by_name, **{f"ndcg_at_{cutoff}": ndcg(places, cutoff) for cutoff in CUTOFFS}}


MEASURES = tuple(f"{measure}_at_{cutoff}" for measure in ("hit_rate", "ndcg") for cutoff in CUTOFFS)


def by_user(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return the mean of each user's values, for the users that occur, in their order.

    Args:
      values: float [C].
      users: int [C], number of the user of each value, at least 0.
    """
    counts = np.bincount(users)
    return (np.bincount(users, values) / np.maximum(counts, 1))[counts > 0]
