"""Searches for the best fixed slate and the best fixed topic, by simulation with a stated budget."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

# (candidates, users of each): all 4950 pairs of 100 documents on 16 users, the best 200 on 300, the best 5 on 2000.
ROUNDS = ((5000, 16), (200, 300), (5, 2000))
_EXCHANGED = 10  # number of slates whose neighbours are tried if the search is not exhaustive


class SlateSearch(NamedTuple):
    """Best slate of a search."""

    places: tuple[int, ...]  # S places among the documents, from 0, ascending
    mean_reward: float  # units of time per user, all T responses, in the last round: a maximum, so biased upwards
    num_candidates: int  # different slates tried
    num_users: int  # simulated users, over all rounds
    exhaustive: bool  # True if every slate of S documents was a candidate


def checked_rounds(rounds: Any) -> Sequence[tuple[int, int]]:
    """Validate and return the rounds of `search_slates`.

    Raises:
      InvalidInputError: if the rounds are not pairs, or a number is out of bounds.
    """
    listed = isinstance(rounds, Sequence) and not isinstance(rounds, (str, bytes))
    if not listed or not rounds or any(not isinstance(one, Sequence) or len(one) != 2 for one in rounds):
        raise validation.InvalidTypeError(
            f"rounds must hold at least one pair (candidates, users of each), and pairs alone, got {rounds!r}"
        )
    for candidates, users in rounds:
        validation.integer("rounds: candidates", candidates, 1)
        validation.integer("rounds: users of each", users, 1)
    return list(rounds)


def search_slates(
    runtime: SeededRuntime,
    recommender: Any,
    num_docs: int,
    horizon: int,
    seed: int,
    rounds: Sequence[tuple[int, int]] = ROUNDS,
) -> SlateSearch:
    """Run a halving search: many slates on few users, then the best of them on more users.

    Karnin et al. 2013, "Almost Optimal Exploration in Multi-Armed Bandits", with the given rounds instead of halves. If
    there are more slates than the first round allows, the first round draws that many at random, without repetition.
    A round of the same size follows on the slates that differ in one document from one of the best ten: a local search.
    The order within a slate is assumed not to matter, as in a multinomial logit.

    Args:
      runtime: a `SeededRuntime` of a network with `recommender`.
      recommender: a `SlateOfEachUserRecommender` of U users; its slates are changed.
      num_docs: D.
      horizon: T, at least 1.
      seed: seed of the run; the search uses other users than an evaluation.
      rounds: for each round the largest number of candidates, decreasing, and the number of users of each candidate;
        both at least 1.

    Returns:
      The best slate.

    Raises:
      InvalidInputError: if the rounds are out of bounds.
    """
    checked_rounds(rounds)
    slate_size = int(recommender.places.shape[1])
    random_state = np.random.RandomState(seeding.stateless_seed(seed, "references", "fixed_slates").view(np.uint32))
    most, users_of_each = rounds[0]
    exhaustive = math.comb(num_docs, slate_size) <= most
    if exhaustive:
        slates = np.array(list(itertools.combinations(range(num_docs), slate_size)))
    else:
        slates = _random_slates(num_docs, slate_size, most, random_state)
    search = _Search(runtime, recommender, horizon, seed)
    means = search.means(slates, users_of_each)
    num_candidates = len(slates)
    if not exhaustive:
        best = slates[np.argsort(-means, kind="stable")[:_EXCHANGED]]
        neighbours = _neighbours(best, num_docs, slates)
        neighbours = neighbours[random_state.permutation(len(neighbours))[:most]]
        if len(neighbours):
            means = np.concatenate([means, search.means(neighbours, users_of_each)])
            slates = np.concatenate([slates, neighbours])
            num_candidates += len(neighbours)
    for candidates, users_of_each in rounds[1:]:
        slates = slates[np.argsort(-means, kind="stable")[:candidates]]
        means = search.means(slates, users_of_each)
    winner = int(np.argmax(means))
    places = tuple(int(place) for place in slates[winner])
    return SlateSearch(places, float(means[winner]), num_candidates, search.num_users, exhaustive)


def _random_slates(num_docs: int, slate_size: int, count: int, random_state: np.random.RandomState) -> np.ndarray:
    """Draw `count` different slates, int [count, S], each ascending; requires that more than `count` exist."""
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        drawn = np.argpartition(random_state.rand(count, num_docs), slate_size - 1, axis=1)[:, :slate_size]
        found.update(dict.fromkeys(map(tuple, np.sort(drawn, axis=1).tolist())))
    return np.array(list(found)[:count])


def _neighbours(slates: np.ndarray, num_docs: int, known: np.ndarray) -> np.ndarray:
    """Return the slates, int [N, S], that differ in one document from one of `slates`, without those in `known`."""
    found: dict[tuple[int, ...], None] = {}
    for slate in slates.tolist():
        for left_out in slate:
            rest = [place for place in slate if place != left_out]
            for place in set(range(num_docs)) - set(slate):
                found[tuple(sorted([*rest, place]))] = None
    for slate in map(tuple, known.tolist()):
        found.pop(slate, None)
    return np.array(list(found), dtype=known.dtype).reshape(-1, slates.shape[1])


class _Search:
    """Simulation of slates, with fresh users in each call."""

    def __init__(self, runtime: SeededRuntime, recommender: Any, horizon: int, seed: int) -> None:
        self._runtime = runtime
        self._recommender = recommender
        self._horizon = horizon
        self._seed = seed
        self._batch = 0
        self.num_users = 0

    def means(self, slates: np.ndarray, users_of_each: int) -> np.ndarray:
        """Return the mean reward of each slate, in units of time, all T responses; float64 [N]."""
        batch_size = int(self._recommender.places.shape[0])
        of_row = np.repeat(np.arange(len(slates)), users_of_each)
        totals = []
        for start in range(0, len(of_row), batch_size):
            rows = of_row[start : start + batch_size]
            padded = np.concatenate([rows, np.zeros(batch_size - len(rows), rows.dtype)])
            self._recommender.places.assign(slates[padded].astype(np.int32))
            path = ("references", "fixed_slates", self._batch)
            rewards = evaluator.evaluate(self._runtime, self._horizon, batch_size, batch_size, self._seed, path)
            totals.append(rewards.total[: len(rows)])
            self._batch += 1
        self.num_users += len(of_row)
        return np.concatenate(totals).reshape(len(slates), users_of_each).mean(axis=1)


def topic_means(
    runtime: SeededRuntime, recommender: Any, num_topics: int, horizon: int, seed: int, num_users: int, batch_size: int
) -> np.ndarray:
    """Compute the mean reward of random documents of one topic, for each topic on the same users.

    Args:
      runtime: a `SeededRuntime` of a network with `recommender`.
      recommender: a `TopicRecommender`; its topic is changed.
      num_topics: K.
      horizon: T, at least 1.
      seed: seed of the run; the search uses other users than an evaluation.
      num_users: number of users for each topic, at least 1.
      batch_size: number of users of the network.

    Returns:
      float64 [K], units of time per user, all T responses.

    Raises:
      InvalidInputError: if a number is out of bounds.
    """
    means = []
    for topic in range(validation.integer("num_topics", num_topics, 1)):
        recommender.topic.assign(topic)
        path = ("references", "topic")
        rewards = evaluator.evaluate(runtime, horizon, num_users, batch_size, seed, path)
        means.append(rewards.total.mean())
    return np.array(means)
