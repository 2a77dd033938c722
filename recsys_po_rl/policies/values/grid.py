"""Dynamic program with full information, for interests of one or two components: exact up to interpolation."""

import functools
import itertools
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import protocols, validation
from recsys_po_rl.policies import planning

MAX_TOPICS = 2
MAX_TERMS = 10**8  # points times documents times corners, of 8 bytes each
GRID_SCALE = 2.0  # of an interest's component: the grid is nearly even within this distance of 0, sparser beyond
_FAR = 1e9  # component of an interest that the squash maps to its limit
_LARGEST_LIMIT = 1e4


class GridValue(tf.Module):
    """Value of an interest by multilinear interpolation on a grid, for each number of steps left.

    Grid lines of each component lie at scale * sinh(u) for evenly spaced u, from -limit to limit; interests beyond have
    the value of the nearest point.
    """

    def __init__(self, table: np.ndarray, num_topics: int, points: int, limit: float, name: str = "GridValue") -> None:
        """Store the table.

        Args:
          table: float32 [T + 1, points ** K], row s with s steps left, the last component of an interest fastest.
          num_topics: K.
          points: grid lines of each component, at least 2.
          limit: largest component on the grid, above 0.
          name: name of the module.
        """
        super().__init__(name=name)
        self._table = tf.constant(table, tf.float32)
        self._flat = tf.reshape(self._table, (-1,))
        self._grid = _Grid(num_topics, points, limit)

    @property
    def table(self) -> np.ndarray:
        """Values on the grid; see the constructor."""
        return self._table.numpy()

    def __call__(self, interest: tf.Tensor, steps_left: tf.Tensor) -> tf.Tensor:
        """Return the value of an interest.

        Args:
          interest: float32 [..., K].
          steps_left: float32 [...], broadcast against the batch shape of `interest`; rounded and clipped to 0..T.

        Returns:
          float32 [...], in units of time.
        """
        places, weights = self._grid.corners(interest)
        row = tf.clip_by_value(tf.cast(tf.round(steps_left), tf.int32), 0, self._table.shape[0] - 1)
        start = row * self._table.shape[1]
        return tf.reduce_sum(weights * tf.gather(self._flat, start[..., tf.newaxis] + places), axis=-1)


class Solution(NamedTuple):
    """Solution of a dynamic program."""

    value: GridValue
    points: int  # grid lines of each component
    limit: float  # largest component of an interest on the grid


class RefinedSolution(NamedTuple):
    """Solution of a dynamic program on two grids."""

    solution: Solution  # on the finer grid
    mean_value: float  # of the given interests, units of time, on the finer grid
    change: float  # mean_value minus that of the coarser grid: the size of the grid's error


def solve(
    user: protocols.UserDynamics,
    docs: Value,
    num_topics: int,
    slate_size: int,
    horizon: int,
    points: int = 121,
    limit: Optional[float] = None,
) -> Solution:
    """Solve by backward induction over T stages, with the exact best slate of all documents at every point.

    Exact up to interpolation between points, for users who choose by a multinomial logit and whose interests move
    without noise (Puterman 1994, "Markov Decision Processes", section 4.5). 121 x 121 points, 100 documents and 100
    stages take 10 to 20 s on one core.

    Args:
      user: dynamics of the users, see `InterestEvolutionUser.dynamics`; the users must not differ.
      docs: the D documents, fields as in `fields.DOC_FIELDS`.
      num_topics: K, 1 or 2.
      slate_size: S.
      horizon: T, responses in an episode, at least 1.
      points: grid lines of each component, at least 2.
      limit: largest component on the grid; None: the largest component that an interest can have after a step.

    Returns:
      Values for 0 to T steps left.

    Raises:
      InvalidInputError: if an argument is out of bounds, the grid would not fit into memory, the users differ, or
        interests are unbounded and `limit` is None.
    """
    if validation.integer("num_topics", num_topics, 1) > MAX_TOPICS:
        raise validation.InvalidInputError(f"num_topics must be at most {MAX_TOPICS} for a grid, got {num_topics}")
    validation.integer("horizon", horizon, 1)
    validation.integer("points", points, 2)
    num_docs = int(docs.get(fields.DOC_ID).shape[0])
    if points**num_topics * num_docs * 2**num_topics > MAX_TERMS:
        raise validation.InvalidInputError(f"points: {points} ** {num_topics} are too many for {num_docs} documents")
    limit = (
        _limit_of(user, num_topics) if limit is None else validation.number("limit", limit, 0.0, exclusive_minimum=True)
    )
    grid = _Grid(num_topics, points, limit)
    interest = tf.constant(grid.nodes())
    try:
        logits = user.choice_logits(interest, docs)
        moved = grid.corners(user.next_interest(interest[:, tf.newaxis], docs))
        unmoved = grid.corners(user.next_interest(interest, None))
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise validation.InvalidInputError(
            "the users differ from one another: one grid cannot hold their values"
        ) from error
    time = user.consumed_time(docs)

    def stage(after: tf.Tensor) -> tf.Tensor:
        stay = tf.reduce_sum(unmoved.weights * tf.gather(after, unmoved.places), axis=-1)
        goes = tf.reduce_sum(moved.weights * tf.gather(after, moved.places), axis=-1)
        slates = planning.best_slates(logits, time + goes - stay[:, tf.newaxis], slate_size)
        return slates.value + stay

    # A partial avoids TensorFlow's warnings of many traces, see `SeededRuntime`.
    compiled_stage = tf.function(functools.partial(stage), autograph=False)
    rows = [tf.zeros((interest.shape[0],))]
    for _ in range(horizon):
        rows.append(compiled_stage(rows[-1]))
    return Solution(GridValue(tf.stack(rows).numpy(), num_topics, points, limit), points, limit)


def solve_refined(
    user: protocols.UserDynamics,
    docs: Value,
    num_topics: int,
    slate_size: int,
    horizon: int,
    interests: Any,
    points: int = 121,
    limit: Optional[float] = None,
) -> RefinedSolution:
    """Solve on a grid and on a coarser grid of half as many intervals, and measure the change of the value.

    Args:
      user: as in `solve`.
      docs: as in `solve`.
      num_topics: as in `solve`.
      slate_size: as in `solve`.
      horizon: as in `solve`.
      interests: float32 [N, K], first interests over which values are averaged.
      points: grid lines of each component of the finer grid, at least 3.
      limit: as in `solve`.

    Returns:
      The finer solution, its value and the change.

    Raises:
      InvalidInputError: as `solve`.
    """
    coarse_points = (validation.integer("points", points, 3) + 1) // 2
    interests = tf.convert_to_tensor(interests, tf.float32)
    means = []
    for number in (coarse_points, points):
        solution = solve(user, docs, num_topics, slate_size, horizon, number, limit)
        means.append(float(tf.reduce_mean(solution.value(interests, tf.constant(float(horizon))))))
    return RefinedSolution(solution, means[1], means[1] - means[0])


class _Corners(NamedTuple):
    places: tf.Tensor  # int32 [..., 2 ** K], indices of a cell's corners among the points
    weights: tf.Tensor  # float32 [..., 2 ** K], weights of the multilinear interpolation


class _Grid:
    """Geometry of the grid; see `GridValue`."""

    def __init__(self, num_topics: int, points: int, limit: float) -> None:
        self._num_topics = num_topics
        self._points = points
        self._end = float(np.arcsinh(limit / GRID_SCALE))

    def nodes(self) -> np.ndarray:
        """Return the interests at all points; float32 [points ** K, K]."""
        line = GRID_SCALE * np.sinh(np.linspace(-self._end, self._end, self._points))
        axes = np.meshgrid(*[line] * self._num_topics, indexing="ij")
        return np.stack(axes, axis=-1).reshape(-1, self._num_topics).astype(np.float32)

    def corners(self, interest: tf.Tensor) -> _Corners:
        """Return the corners of the cells that contain interests [..., K]."""
        last = self._points - 1
        position = (tf.asinh(interest / GRID_SCALE) / self._end + 1.0) * (last / 2)
        position = tf.clip_by_value(position, 0.0, float(last))
        low = tf.minimum(tf.floor(position), float(last - 1))
        share = position - low
        low = tf.cast(low, tf.int32)
        places, weights = [], []
        for upper in itertools.product((0, 1), repeat=self._num_topics):
            place, weight = 0, 1.0
            for axis, up in enumerate(upper):
                place = place * self._points + low[..., axis] + up
                weight = weight * (share[..., axis] if up else 1.0 - share[..., axis])
            places.append(place)
            weights.append(weight)
        return _Corners(tf.stack(places, axis=-1), tf.stack(weights, axis=-1))


def _limit_of(user: protocols.UserDynamics, num_topics: int) -> float:
    ends = tf.constant([[-_FAR] * num_topics, [_FAR] * num_topics], tf.float32)
    limit = float(tf.reduce_max(tf.abs(user.next_interest(ends, None))))
    if not limit <= _LARGEST_LIMIT:
        raise validation.InvalidInputError("limit must be given: the interests of these users have no bound")
    return limit
