"""The same slate for all users at every step, the best in simulation with a stated budget."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

# (candidates, users of each): all 4950 pairs of 100 documents on 16 users, the best 200 on 300, the best 5 on 2000.
ROUNDS = ((5000, 16), (200, 300), (5, 2000))
_EXCHANGED = 10  # number of slates whose neighbours are tried if the search is not exhaustive


@gin_config.configurable
class SlateOfEachUserRecommender(recommender.HistoryRecommender):
    """Recommender that shows each user one fixed slate, assignable between runs; fields as in `HistoryRecommender`.

    Attributes:
      places: int32 variable [U, S], places among the available documents, from 0, different within a row.
    """

    def __init__(self, config: Config, name: str = "Recommender") -> None:
        """Create the entity; every slate holds the first S documents until `places` is assigned.

        Args:
          config: as in `HistoryRecommender`.
          name: name of the entity.
        """
        super().__init__(config, name=name)
        first = np.tile(np.arange(self._slate_size, dtype=np.int32), (self._num_users, 1))
        self.places = tf.Variable(first, trainable=False, name="places")

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the users' places; int32 [U, S]."""
        del previous_state, user_obs, available_docs
        return tf.convert_to_tensor(self.places)


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
    if not listed or not rounds or any(not isinstance(pair, Sequence) or len(pair) != 2 for pair in rounds):
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


def num_search_users(num_docs: int, slate_size: int, rounds: Sequence[tuple[int, int]] = ROUNDS) -> int:
    """Return the largest number of users that `search_slates` simulates.

    Args:
      num_docs: D.
      slate_size: S.
      rounds: as in `search_slates`.
    """
    most, users_of_each = rounds[0]
    num_slates = math.comb(num_docs, slate_size)
    tried = min(num_slates, most)
    if num_slates > most:
        tried += min(min(_EXCHANGED, most) * slate_size * (num_docs - slate_size), num_slates - most, most)
    num_users = tried * users_of_each
    for candidates, users_of_each in rounds[1:]:
        tried = min(tried, candidates)
        num_users += tried * users_of_each
    return num_users


def _random_slates(num_docs: int, slate_size: int, count: int, random_state: np.random.RandomState) -> np.ndarray:
    """Draw `count` different slates, int [count, S], each ascending; requires that more than `count` exist."""
    different: dict[tuple[int, ...], None] = {}
    while len(different) < count:
        drawn = np.argpartition(random_state.rand(count, num_docs), slate_size - 1, axis=1)[:, :slate_size]
        different.update(dict.fromkeys(map(tuple, np.sort(drawn, axis=1).tolist())))
    return np.array(list(different)[:count])


def _neighbours(slates: np.ndarray, num_docs: int, known: np.ndarray) -> np.ndarray:
    """Return the slates, int [N, S], that differ in one document from one of `slates`, without those in `known`."""
    neighbours: dict[tuple[int, ...], None] = {}
    for slate in slates.tolist():
        for left_out in slate:
            rest = [place for place in slate if place != left_out]
            for place in set(range(num_docs)) - set(slate):
                neighbours[tuple(sorted([*rest, place]))] = None
    for slate in map(tuple, known.tolist()):
        neighbours.pop(slate, None)
    return np.array(list(neighbours), dtype=known.dtype).reshape(-1, slates.shape[1])


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


@gin_config.configurable(name="best_fixed_slate")
class BestFixedSlate(Policy):
    """Policy that always shows the same S documents, the winner of a halving search, see `search_slates`.

    By default 80000 + 60000 + 10000 users are simulated, and every slate is tried if there are at most 5000 slates. The
    evaluation uses other users, so that its mean is not biased by the maximisation.
    """

    def __init__(self, rounds: Sequence[tuple[int, int]] = ROUNDS) -> None:
        """Validate the arguments.

        Args:
          rounds: the budget: for each round the largest number of slates and the number of users of each slate.

        Raises:
          InvalidInputError: if the rounds are not pairs, or a number is out of bounds.
        """
        self.rounds = checked_rounds(rounds)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Search for the slate; left out if the corpus is not static. See `Policy.build`."""
        ids = context.documents().get(fields.DOC_ID).numpy()
        network = context.network(recommender_ctor=SlateOfEachUserRecommender)
        winner = search_slates(
            context.runtime(network), network.recommender, len(ids), context.horizon, context.seed, self.rounds
        )
        doc_ids = [int(ids[place]) for place in winner.places]
        return BuiltPolicy(
            context.network(recommender_ctor=functools.partial(FixedSlateRecommender, doc_ids=doc_ids)),
            {
                "doc_ids": doc_ids,
                "num_candidates": winner.num_candidates,
                "num_search_users": winner.num_users,
                "exhaustive": winner.exhaustive,
            },
        )

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of all rounds; see `Policy.search_cost`."""
        num_users = num_search_users(context.config["num_docs"], context.config["slate_size"], self.rounds)
        return SearchCost(num_users * context.horizon)
