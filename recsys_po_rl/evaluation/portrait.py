"""Portraits of policies: users' behaviour over the horizon, by initial interest, and the documents shown.

Finer in time than the quarters of `evaluation.behaviour`, and kept for a bounded number of users, so that the cost is
the same for two thousand and for a million users.

Segments: users sorted by initial taste, in three parts of as equal size as possible. The taste of an interest is the
mean quality of the document that a user with that interest would choose from the whole catalogue as one slate, without
the option of no click. It predicts where an interest drifts without steering, for any number of topics and any signs
(see `taste`). All policies have the same users, hence the same initial interests and the same segments.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Optional, Union

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import protocols, records
from recsys_po_rl.common.records import Bounds, Count, NonNegative, Record
from recsys_po_rl.evaluation import behaviour

NUM_PARTS = 20  # parts of the horizon: fine enough to show trends, coarse enough for narrow intervals
NUM_USERS = 10_000  # the first 10,000 users: half-widths of intervals are about 2% of a standard deviation
NUM_DOCUMENTS = 10  # most shown documents in each of the lists for the first and last part
ALL = "all"
SEGMENTS = ("toward_trash", "between", "toward_nutrition")  # thirds of the users, by initial taste
SIGNIFICANT_DIGITS = 6  # precision of written numbers
LARGEST_TENSOR = 2**22  # elements of a tensor when tastes are computed: 16 MB

Taste = Callable[[np.ndarray], np.ndarray]  # interests [N, K] -> tastes [N]
Shares = list[Optional[list[float]]]  # by part and topic; None for an empty part


def _document_id(where: str, value: Any) -> None:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise records.error(where, "an integer or a text", value)


def _part(where: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise records.error(where, "a pair of slates", value)
    for slate in value:
        records.between(1, records.MAX_COUNT).validate(where, slate)


Part = Annotated[Sequence[int], records.Check(_part)]  # first and last slate, counted from 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment(Record):
    """Users of a segment."""

    num_users: NonNegative
    mean_taste: Optional[float]  # None: all users, of a world without interests or tastes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Record):
    """Measure of the users of a segment, by part of the horizon; None for undefined values."""

    mean: list[Optional[float]]
    interval95: list[Optional[Bounds]]  # over users


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownDocument(Record):
    """Document that was shown in a part of the horizon."""

    doc_id: int
    topic: int
    quality: float
    in_slates: float  # share of slates that contain it
    click_rate: float  # clicks per showing
    document: Optional[Annotated[Any, records.Check(_document_id)]] = None  # the user's own id


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyPortrait(Record):
    """Portrait of one policy."""

    num_users: Count
    segments: Mapping[str, Segment]  # by name, always including `ALL`
    users: Mapping[str, Mapping[str, Measure]]  # by segment and measure, see `behaviour.Behaviour.estimates`
    topics_shown: Shares
    topics_clicked: Shares
    documents_early: list[ShownDocument]  # most shown documents of the first part
    documents_late: list[ShownDocument]  # and of the last part

    def with_ids(self, ids: Sequence[Union[str, int]]) -> "PolicyPortrait":
        """Return the portrait with the user's own ids beside the documents.

        Args:
          ids: the user's own id of each document, in the order of `doc_id` from 1.
        """
        early, late = (
            [dataclasses.replace(shown, document=ids[shown.doc_id - 1]) for shown in documents]
            for documents in (self.documents_early, self.documents_late)
        )
        return dataclasses.replace(self, documents_early=early, documents_late=late)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topic(Record):
    """Topic of the corpus."""

    topic: int
    num_documents: NonNegative
    mean_quality: Optional[float]  # None: no documents
    name: Optional[str] = None  # the user's own name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portrait(Record):
    """Content of portrait.json."""

    horizon: Count  # T
    parts: list[Part]
    topics: Optional[list[Topic]]  # None: the corpus is not static
    policies: Mapping[str, PolicyPortrait]  # by name


def taste(user: protocols.UserDynamics, docs: Value) -> Taste:
    """Return a function that computes the taste of interests: the expected quality of a forced choice.

    The choice is among the documents of the whole catalogue, without the option of no click.

    Args:
      user: dynamics of the users, see `InterestEvolutionUser.dynamics`.
      docs: fields [D, ...] of all documents.

    Returns:
      A function from interests float [N, K] to tastes float64 [N], in units of quality.
    """
    features, quality = docs.get(fields.DOC_FEATURES), docs.get(fields.DOC_QUALITY)
    at_once = max(1, LARGEST_TENSOR // int(np.prod(features.shape)))

    def taste_of_some(interest: np.ndarray) -> np.ndarray:
        shown = docs.map(lambda field: tf.repeat(field[tf.newaxis], len(interest), axis=0))
        shares = tf.nn.softmax(user.choice_logits(tf.convert_to_tensor(interest), shown)[..., :-1])
        return tf.linalg.matvec(shares, quality).numpy().astype(np.float64)

    def taste_of_all(interest: np.ndarray) -> np.ndarray:
        starts = range(0, len(interest), at_once)
        return np.concatenate([taste_of_some(interest[start : start + at_once]) for start in starts])

    return taste_of_all


class Collector:
    """Reduction of the trajectories of a policy's evaluation to its portrait; a reducer of `evaluator.evaluate`."""

    def __init__(self, horizon: int, num_topics: int, taste_of: Optional[Taste] = None) -> None:
        """Create an empty collector.

        Args:
          horizon: T, at least 1.
          num_topics: K.
          taste_of: function from interests to tastes; None: all users form one segment.
        """
        self._num_topics = num_topics
        self._taste_of = taste_of
        self._parts = behaviour.parts_of(horizon, min(NUM_PARTS, horizon))
        self._behaviour = behaviour.Collector(horizon, len(self._parts))
        self._num_users = 0
        self._first_interests: list[np.ndarray] = []
        self._shown = np.zeros((len(self._parts), num_topics))
        self._clicked = np.zeros((len(self._parts), num_topics))
        self._documents: dict[int, tuple[int, float]] = {}  # topic and quality, by id
        self._showings: tuple[Counter[int], Counter[int]] = (Counter(), Counter())  # early, late; by id
        self._clicks: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self._num_slates = [0, 0]

    def add(self, trajectory: Mapping[str, Any], num_users: int) -> None:
        """Add a batch; see `behaviour.Collector.add`."""
        num_users = min(num_users, NUM_USERS - self._num_users)
        if num_users <= 0:
            return
        self._behaviour.add(trajectory, num_users)
        self._num_users += num_users
        of_user = trajectory[fields.USER_STATE].as_dict if fields.USER_STATE in trajectory else {}
        interest = np.asarray(of_user[fields.INTEREST][0]) if fields.INTEREST in of_user else np.zeros(0)
        if interest.ndim == 2:
            self._first_interests.append(interest[:num_users])
        slates = trajectory[fields.SLATE_DOCS].as_dict if fields.SLATE_DOCS in trajectory else {}
        if not {fields.DOC_ID, fields.DOC_TOPIC, fields.DOC_QUALITY} <= set(slates):
            return
        names = (fields.DOC_ID, fields.DOC_TOPIC, fields.DOC_QUALITY)
        ids, topics, qualities = (np.asarray(slates[name])[:, :num_users] for name in names)
        self._add_slates(ids, topics, qualities, _clicked(trajectory, ids))

    def _add_slates(self, ids: np.ndarray, topics: np.ndarray, qualities: np.ndarray, clicked: np.ndarray) -> None:
        for part, steps in enumerate(self._parts):
            shown = topics[steps][ids[steps] != fields.NULL_DOC_ID]
            for counts, slots in ((self._shown, shown), (self._clicked, topics[steps][clicked[steps]])):
                known = slots[(slots >= 0) & (slots < self._num_topics)]
                counts[part] += np.bincount(known.ravel(), minlength=self._num_topics)
        for end, steps in enumerate((self._parts[0], self._parts[-1])):
            self._num_slates[end] += ids[steps][..., 0].size
            for counter, doc_ids in (
                (self._showings[end], ids[steps]),
                (self._clicks[end], ids[steps][clicked[steps]]),
            ):
                unique_ids, times = np.unique(doc_ids[doc_ids != fields.NULL_DOC_ID], return_counts=True)
                counter.update(dict(zip(unique_ids.tolist(), times.tolist())))
            unique_ids, first = np.unique(ids[steps], return_index=True)
            of_docs = topics[steps].ravel()[first].tolist(), qualities[steps].ravel()[first].tolist()
            self._documents.update(dict(zip(unique_ids.tolist(), zip(*of_docs))))

    def result(self) -> PolicyPortrait:
        """Return the portrait of all batches added; requires at least one batch."""
        users = self._behaviour.result()
        segments = self._segments()
        return PolicyPortrait(
            num_users=self._num_users,
            segments={
                name: Segment(num_users=len(members), mean_taste=_rounded(mean_taste))
                for name, (members, mean_taste) in segments.items()
            },
            users={name: _measures(users, members) for name, (members, _) in segments.items()},
            topics_shown=_shares(self._shown),
            topics_clicked=_shares(self._clicked),
            documents_early=self._most_shown(0),
            documents_late=self._most_shown(1),
        )

    def _segments(self) -> dict[str, tuple[np.ndarray, Optional[float]]]:
        """Return the members' indices and mean taste by segment."""
        everyone = np.arange(self._num_users)
        if self._taste_of is None or not self._first_interests or self._num_users < len(SEGMENTS):
            return {ALL: (everyone, None)}
        tastes = self._taste_of(np.concatenate(self._first_interests))
        thirds = np.array_split(np.argsort(tastes, kind="stable"), len(SEGMENTS))
        return {
            name: (members, float(tastes[members].mean()))
            for name, members in zip((ALL, *SEGMENTS), (everyone, *thirds))
        }

    def _most_shown(self, end: int) -> list[ShownDocument]:
        showings, clicks, slates = self._showings[end], self._clicks[end], self._num_slates[end]
        in_order = sorted(showings.items(), key=lambda item: (-item[1], item[0]))
        return [
            ShownDocument(
                doc_id=doc,
                topic=self._documents[doc][0],
                quality=_rounded(self._documents[doc][1]),
                in_slates=_rounded(times / slates),
                click_rate=_rounded(clicks[doc] / times),
            )
            for doc, times in in_order[:NUM_DOCUMENTS]
        ]


def parts(horizon: int) -> list[Part]:
    """Return the first and last slate of each part, counted from 1."""
    return [[part.start + 1, part.stop] for part in behaviour.parts_of(horizon, min(NUM_PARTS, horizon))]


def _clicked(trajectory: Mapping[str, Any], ids: np.ndarray) -> np.ndarray:
    """Return bool [T + 1, U, S], true for the chosen documents."""
    of_response = trajectory[fields.USER_RESPONSE].as_dict if fields.USER_RESPONSE in trajectory else {}
    choice = np.asarray(of_response.get(fields.CHOICE, np.zeros(0)))
    if choice.ndim != 2:
        return np.zeros(ids.shape, bool)
    return choice[:, : ids.shape[1], np.newaxis] == np.arange(ids.shape[-1])


def _measures(users: behaviour.Behaviour, members: np.ndarray) -> dict[str, Measure]:
    arrays = {name: getattr(users, name) for name in ("reward", "clicks", "quality", "positive", "drift")}
    selected: dict[str, Any] = {name: None if array is None else array[members] for name, array in arrays.items()}
    estimates = users._replace(**selected).estimates()
    means, intervals = behaviour.means(estimates), behaviour.intervals(estimates)
    return {
        name: Measure(mean=_rounded(mean), interval95=_rounded(intervals[name]))
        for name, mean in means.items()
        if mean is not None
    }


def _shares(counts: np.ndarray) -> Shares:
    return [_rounded((in_part / in_part.sum()).tolist()) if in_part.any() else None for in_part in counts]


def _rounded(content: Any) -> Any:
    """Round a number, or the numbers in nested lists, to `SIGNIFICANT_DIGITS`; None stays."""
    if isinstance(content, float):
        return float(f"{content:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(content, Sequence):
        return [_rounded(item) for item in content]
    return content
