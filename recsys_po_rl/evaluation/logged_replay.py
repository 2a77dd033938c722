"""Replay of logged histories through a policy: propensities of the logged slates, and slates of the policy's own."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

NO_CLICK_TIME = -1.0  # consumed time in the response of a user who clicks nothing
_LOGGED_RESPONSES = (fields.CHOICE, fields.CONSUMED_TIME)


class LoggedHistories(NamedTuple):
    """Logged slates and responses of users from their first step on."""

    slates: np.ndarray  # int32 [U, T, S], document ids
    choices: np.ndarray  # int32 [U, T], clicked slot, S for none
    consumed_times: np.ndarray  # float32 [U, T], 0 for none


class Replayed(NamedTuple):
    """Policy at the logged histories."""

    log_propensities: np.ndarray  # float64 [U, T], joint, of the logged slates; -inf: the policy never shows it
    log_prefix_propensities: Optional[np.ndarray]  # float64 [U, T, S], see `SlatePropensities`; None: unknown
    log_item_propensities: Optional[np.ndarray]  # float64 [U, T, S]
    sampled_slates: np.ndarray  # int32 [M, U, T, S], ids of slates that the policy draws at the logged histories


class HistoryReplay:
    """Replay of logged histories through the recommender of a network.

    The recommender's state is computed by its own `next_state` from the logged slates, clicks and consumed times,
    whether or not the state depends on weights. Its slate's value function is evaluated at each history, with the
    logged slate in the place of the draw. A recommender that draws nothing shows one slate with probability 1.
    """

    def __init__(self, network: Any, runtime: SeededRuntime, num_samples: int = 0) -> None:
        """Validate that the recommender can be replayed from a log.

        Args:
          network: a `SimulationNetwork` of a batch of users, whose documents stay the same.
          runtime: runtime of the network.
          num_samples: M, slates that the policy draws at each history, at least 0.

        Raises:
          InvalidInputError: one line, if slates or state depend on values that no log has, such as the interest, if the
            documents change, or if the slate's draws are not its field doc_ranks.
        """
        by_name = {variable.name: variable for variable in network.variables}
        self._slate, self._state = by_name[fields.SLATE_DOCS], by_name[fields.RECOMMENDER_STATE]
        self._num_samples = validation.integer("num_samples", num_samples, 0)
        _raise_if_not_logged(runtime)
        slate_flow = runtime.flow(fields.SLATE_DOCS)
        self.is_deterministic = not slate_flow.random_fields
        if not self.is_deterministic and list(slate_flow.random_fields) != [fields.DOC_RANKS]:
            raise validation.InvalidInputError(
                f"the policy's slates draw {', '.join(map(str, slate_flow.random_fields))}: only a policy whose slates "
                f"draw {fields.DOC_RANKS} can be evaluated on a log"
            )
        first = runtime.execute(0)
        self._first_state = first[fields.RECOMMENDER_STATE].map(tf.convert_to_tensor).as_dict
        self._documents = first[fields.AVAILABLE_DOCS]
        self._first = first
        self._specs = {name: runtime.flow(name).field_specs for name in by_name}
        ids = self._documents.get(fields.DOC_ID).numpy()
        self._place_of = np.full(int(ids.max()) + 1, -1, np.int32)
        self._place_of[ids] = np.arange(len(ids), dtype=np.int32)
        self._ids = ids.astype(np.int32)
        self.num_users = int(self._specs[fields.SLATE_DOCS][fields.DOC_ID].shape[0])
        self.slate_size = int(self._specs[fields.SLATE_DOCS][fields.DOC_ID].shape[1])
        self._step = tf.function(self._evaluated_step, autograph=False)

    @property
    def documents(self) -> Mapping[str, np.ndarray]:
        """Fields of the documents, the first axis in the order of `document_ids`."""
        return {name: np.asarray(field) for name, field in self._documents.as_dict.items()}

    @property
    def document_ids(self) -> np.ndarray:
        """Ids of the documents; int32 [D]."""
        return self._ids

    def places_of(self, slates: np.ndarray) -> np.ndarray:
        """Return the documents' indices, int32 of the same shape.

        Args:
          slates: int, document ids of any shape.

        Raises:
          InvalidInputError: if an id is not among the documents.
        """
        inside = (slates >= 0) & (slates < len(self._place_of))
        places = np.where(inside, self._place_of[np.where(inside, slates, 0)], -1)
        if (places < 0).any():
            raise validation.InvalidInputError(
                f"the log has the document {slates[places < 0].flat[0]}, which the policy's corpus of "
                f"{len(self._ids)} documents does not have"
            )
        return places

    def replay(self, histories: LoggedHistories, seed: int = 0) -> Replayed:
        """Replay users in batches of the network's size.

        Args:
          histories: logged users, any number of at least 1.
          seed: seed of the slates that the policy draws.

        Raises:
          InvalidInputError: if slates have another size than the policy's, or an id is not among the documents.
        """
        num_users, horizon, slate_size = histories.slates.shape
        if slate_size != self.slate_size:
            raise validation.InvalidInputError(
                f"the log has slates of {slate_size} documents, and the policy shows {self.slate_size}"
            )
        places = self.places_of(histories.slates)
        parts = []
        for batch, first in enumerate(range(0, num_users, self.num_users)):
            users = np.minimum(np.arange(first, first + self.num_users), num_users - 1)  # surplus users repeat the last
            counting = min(self.num_users, num_users - first)
            parts.append(
                self._replay_batch(
                    LoggedHistories(*(field[users] for field in histories)), places[users], seed, batch, counting
                )
            )
        log_propensities, prefix, item, sampled = zip(*parts)
        return Replayed(
            np.concatenate(log_propensities),
            None if prefix[0] is None else np.concatenate(prefix),
            None if item[0] is None else np.concatenate(item),
            np.concatenate(sampled, axis=1),
        )

    def _replay_batch(
        self, histories: LoggedHistories, places: np.ndarray, seed: int, batch: int, counting: int
    ) -> tuple[Any, ...]:
        state = self._first_state
        results = []
        for step in range(places.shape[1]):
            clicked = histories.choices[:, step] < self.slate_size
            times = np.where(clicked, histories.consumed_times[:, step], NO_CLICK_TIME)
            keys = tf.constant(
                np.array(
                    [seeding.stateless_seed(seed, "offline", batch, step, draw) for draw in range(self._num_samples)],
                    np.int32,
                ).reshape(self._num_samples, 2)
            )
            result, state = self._step(
                state,
                tf.constant(places[:, step]),
                tf.constant(histories.choices[:, step], tf.int32),
                tf.constant(times, tf.float32),
                keys,
            )
            results.append({name: tensor.numpy() for name, tensor in result.items()})
        ranks = np.stack([result["ranks"] for result in results], axis=2)[:, :counting]
        log_propensities = np.stack([result["log_prob"] for result in results], axis=1)[:counting].astype(np.float64)
        prefix = item = None
        if "log_shares" in results[0]:
            shares = np.stack([result["log_shares"] for result in results], axis=1)[:counting].astype(np.float64)
            prefix, item = slot_propensities(shares, places[:counting])
            log_propensities = prefix[..., -1]  # in double precision
        return log_propensities, prefix, item, self._ids[ranks]

    def _evaluated_step(
        self, state: Any, places: tf.Tensor, choices: tf.Tensor, times: tf.Tensor, keys: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        inputs = [
            Value(**state) if dependency.variable_name == fields.RECOMMENDER_STATE
            else self._first[dependency.variable_name]
            for dependency in self._slate.value.dependencies
        ]  # fmt: skip
        with seeding.replayed_draws([places]) as drawn:
            shown = self._slate.value.fn(*inputs)
        result = {}
        if self.is_deterministic:
            only = tf.convert_to_tensor(shown.get(fields.DOC_RANKS))
            same = tf.reduce_all(only == places, axis=-1)
            result["log_prob"] = tf.where(same, 0.0, -float("inf"))
            result["ranks"] = tf.tile(only[tf.newaxis], [self._num_samples, 1, 1])
        else:
            distribution = drawn.random_variables[0].distribution
            result["log_prob"] = tf.cast(distribution.log_prob(places), tf.float32)
            draws = [distribution.sample(seed=keys[draw]) for draw in range(self._num_samples)]
            result["ranks"] = tf.stack(draws) if draws else tf.zeros((0, *places.shape), tf.int32)
            if hasattr(distribution, "logits") and hasattr(distribution, "slate_size"):
                result["log_shares"] = tf.nn.log_softmax(tf.cast(distribution.logits, tf.float64))
        logged = {fields.CHOICE: choices, fields.CONSUMED_TIME: times}
        slate = {
            **{name: tf.gather(field, places) for name, field in self._documents.as_dict.items()},
            fields.DOC_RANKS: places,
        }
        known = {fields.USER_RESPONSE: logged, fields.SLATE_DOCS: slate, fields.RECOMMENDER_STATE: state}
        following = self._state.value.fn(
            *(
                self._completed(dependency.variable_name, known[dependency.variable_name])
                for dependency in self._state.value.dependencies
            )
        )
        return result, following.map(tf.convert_to_tensor).as_dict

    def _completed(self, name: str, known: Mapping[str, tf.Tensor]) -> Value:
        """Return a value with all fields; fields that nothing reads are zeros."""
        return Value(
            **{
                field: known[field] if field in known else tf.zeros(spec.shape, spec.dtype)
                for field, spec in self._specs[name].items()
            }
        )


def _raise_if_not_logged(runtime: SeededRuntime) -> None:
    """Raise if slates or the recommender's state read what a log does not have."""
    slate, state = runtime.flow(fields.SLATE_DOCS), runtime.flow(fields.RECOMMENDER_STATE)
    logged = {
        fields.RECOMMENDER_STATE: None,
        fields.AVAILABLE_DOCS: None,
        fields.SLATE_DOCS: {*fields.DOC_FIELDS, fields.DOC_RANKS},
        fields.USER_RESPONSE: set(_LOGGED_RESPONSES),
    }
    for flow, reader in ((slate, "slates"), (state, "recommender's state")):
        for name, names in flow.reads.items():
            allowed = logged.get(name, set())
            unknown = [] if allowed is None else sorted(set(names) - allowed)
            if unknown:
                raise validation.InvalidInputError(
                    f"the policy's {reader} read {unknown[0]!r} of {name!r}, which a log does not have: the policy "
                    "cannot be evaluated on a log"
                )
    if runtime.flow(fields.AVAILABLE_DOCS).reads.get(fields.CORPUS_STATE) and _changes(runtime):
        raise validation.InvalidInputError(
            "the documents change from step to step: only a policy of a corpus that stays the same can be evaluated on "
            "a log"
        )


def _changes(runtime: SeededRuntime) -> bool:
    """Return whether the documents' fields differ after a step."""
    before, after = runtime.execute(0)[fields.AVAILABLE_DOCS], runtime.execute(1)[fields.AVAILABLE_DOCS]
    return any(not np.array_equal(before.get(name), after.get(name)) for name in before.as_dict)


def slot_propensities(log_shares: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """Return prefix and item log-propensities of top-S Plackett-Luce slates.

    Args:
      log_shares: float64 [..., D], log-probabilities of the first slot.
      places: int32 [..., S], indices of the slate's documents.

    Returns:
      Prefix propensities, float64 [..., S], and item propensities, float64 [..., S]; None for S above 2, for which they
      are sums over D^(S - 1) slates.
    """
    chosen = np.take_along_axis(log_shares, places, axis=-1)
    shares = np.exp(log_shares)
    left = shares.copy()
    columns = []
    for slot in range(places.shape[-1]):
        with np.errstate(divide="ignore"):
            columns.append(chosen[..., slot] - np.log(left.sum(axis=-1)))
        np.put_along_axis(left, places[..., slot, np.newaxis], 0.0, axis=-1)
    prefix = np.cumsum(np.stack(columns, axis=-1), axis=-1)
    if places.shape[-1] > 2:
        return prefix, None
    item = chosen.copy()
    if places.shape[-1] == 2:
        # The second slot's document after any other: sum over first != second of p(first) p(second) / (1 - p(first)).
        odds = shares / np.maximum(_without_each(shares), np.finfo(np.float64).tiny)
        second = places[..., 1, np.newaxis]
        after_any_other = odds.sum(axis=-1) - np.take_along_axis(odds, second, axis=-1)[..., 0]
        with np.errstate(divide="ignore"):
            item[..., 1] += np.log(np.maximum(after_any_other, 0.0))
    return prefix, np.minimum(item, 0.0)


def _without_each(shares: np.ndarray) -> np.ndarray:
    """Return for each document the total share of the others, summed without it (1 - p loses digits near p = 1)."""
    others = np.zeros_like(shares)
    others[..., 1:] += np.cumsum(shares[..., :-1], axis=-1)
    others[..., :-1] += np.cumsum(shares[..., :0:-1], axis=-1)[..., ::-1]
    return others
