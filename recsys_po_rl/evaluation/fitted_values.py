"""Values of a target policy, fitted to a log: linear fitted Q evaluation, cross-fitted by halves of the users.

Q(h, a) at each step is linear in features of history and slate, so that its expectation over the target's slates is the
same linear function of the expected features. From the last step backwards, Q is the ridge regression of the reward
plus the next step's expected Q on the features (H. Le, C. Voloshin, Y. Yue, "Batch Policy Learning under Constraints",
ICML 2019, algorithm 3, here with a horizon and a function for each step). The values of a user come from a fit to the
other half of the users (V. Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018), so that
doubly robust estimators with them stay unbiased however badly a linear function fits.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from recsys_po_rl.common import validation

DOCUMENT_FEATURES = ("doc_quality", "doc_features")  # fields of documents that are features where a corpus has them
RIDGE = 1.0  # penalty of a coefficient of a standardised feature, in users


class FittedValues(NamedTuple):
    """Values of a target policy at logged histories; float64 [U, T] each."""

    action_values: np.ndarray  # Q(h, a)
    state_values: np.ndarray  # V(h)


class SlateFeatures(NamedTuple):
    """Features of logged histories with slates; float64 [U, T, F]."""

    logged: np.ndarray  # with the logged slate
    expected: np.ndarray  # mean over slates that the target policy drew at the same history


def slate_features(
    slates: np.ndarray, sampled: np.ndarray, rewards: np.ndarray, clicked: np.ndarray, documents: np.ndarray
) -> SlateFeatures:
    """Return the features of histories and slates.

    Of the history: 1, the share of steps with a click, the mean reward, the last reward. Of the slate: the sum of its
    documents' features, and the sum of their inner products with the user's profile, the mean of the features of the
    documents consumed so far, weighted by their consumed times.

    Args:
      slates: int [U, T, S], indices of the logged documents.
      sampled: int [M, U, T, S], indices of documents that the target policy drew, M at least 1.
      rewards: float [U, T].
      clicked: int [U, T], slot, S for none.
      documents: float [D, P], features of the documents, P at least 0.
    """
    num_users, horizon, slate_size = slates.shape
    before = np.arange(horizon)
    steps = np.maximum(before, 1)
    is_click = clicked < slate_size
    consumed = np.take_along_axis(slates, np.minimum(clicked, slate_size - 1)[..., np.newaxis], axis=-1)[..., 0]
    consumed_features = documents[consumed] * (rewards * is_click)[..., np.newaxis]
    time_so_far = _before(rewards)
    profile = _before(consumed_features) / np.maximum(time_so_far, 1e-9)[..., np.newaxis]
    last = np.concatenate([np.zeros((num_users, 1)), rewards[:, :-1]], axis=1)
    history = np.stack(
        [np.ones_like(last), _before(is_click.astype(np.float64)) / steps, time_so_far / steps, last], axis=-1
    )

    def with_slate(shown: np.ndarray) -> np.ndarray:
        total = documents[shown].sum(axis=-2)
        return np.concatenate([history, total, (total * profile).sum(axis=-1, keepdims=True)], axis=-1)

    expected = np.zeros((*history.shape[:2], history.shape[2] + documents.shape[1] + 1))
    for drawn in sampled:
        expected += with_slate(drawn) / len(sampled)
    return SlateFeatures(with_slate(slates), expected)


def _before(values: np.ndarray) -> np.ndarray:
    """Return the sums over the steps before each step, along axis 1."""
    sums = np.zeros_like(values, np.float64)
    sums[:, 1:] = np.cumsum(values[:, :-1], axis=1)
    return sums


def document_features(documents: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the features of documents, float64 [D, P], of the `DOCUMENT_FEATURES` that they have; P may be 0.

    Args:
      documents: fields of the documents, each with D rows.
    """
    rows = [
        np.asarray(documents[name], np.float64).reshape(len(documents[name]), -1)
        for name in DOCUMENT_FEATURES
        if name in documents
    ]
    return np.concatenate(rows, axis=1) if rows else np.zeros((len(next(iter(documents.values()))), 0))


def fitted_values(features: SlateFeatures, rewards: np.ndarray, seed: int = 0, ridge: float = RIDGE) -> FittedValues:
    """Return values that are fitted to the other half of the users.

    Args:
      features: features of the users' histories and slates.
      rewards: float [U, T], U at least 2.
      seed: seed of the halves.
      ridge: penalty, above 0.

    Raises:
      InvalidInputError: if there are fewer than two users, or the penalty is not above 0.
    """
    validation.integer("users of a log whose values are fitted", len(rewards), 2)
    validation.number("ridge", ridge, 0.0, exclusive_minimum=True)
    in_first = np.zeros(len(rewards), bool)
    in_first[np.random.default_rng(seed).permutation(len(rewards))[: len(rewards) // 2]] = True
    values = FittedValues(np.zeros(rewards.shape), np.zeros(rewards.shape))
    for fitted_on in (in_first, ~in_first):
        others = ~fitted_on
        coefficients = _fit(SlateFeatures(*(part[fitted_on] for part in features)), rewards[fitted_on], ridge)
        values.action_values[others] = np.einsum("utf,tf->ut", features.logged[others], coefficients)
        values.state_values[others] = np.einsum("utf,tf->ut", features.expected[others], coefficients)
    return values


def _fit(features: SlateFeatures, rewards: np.ndarray, ridge: float) -> np.ndarray:
    """Return the coefficients of Q at each step; float64 [T, F]."""
    horizon = rewards.shape[1]
    coefficients = np.zeros((horizon, features.logged.shape[2]))
    next_values = np.zeros(len(rewards))
    for step in reversed(range(horizon)):
        inputs = features.logged[:, step]
        scale = inputs.std(axis=0)
        varies = scale > 1e-9
        centred = np.where(varies, (inputs - inputs.mean(axis=0)) / np.where(varies, scale, 1.0), 0.0)
        targets = rewards[:, step] + next_values
        slopes = np.linalg.solve(
            centred.T @ centred + ridge * np.eye(centred.shape[1]), centred.T @ (targets - targets.mean())
        )
        coefficients[step] = np.where(varies, slopes / np.where(varies, scale, 1.0), 0.0)
        coefficients[step, 0] = targets.mean() - inputs.mean(axis=0) @ coefficients[step]  # of the constant feature
        next_values = features.expected[:, step] @ coefficients[step]
    return coefficients
