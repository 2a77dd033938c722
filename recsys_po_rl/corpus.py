"""Corpora: documents with a topic, a quality, features and a length, constant over time.

Over 350 lines: a corpus and its frozen form share the checks of their fields.
"""

import fractions
import warnings
from typing import Any, Optional

import edward2 as ed
import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.recommendation import corpus
from recsim_ng.lib.tensorflow import field_spec

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import parameters, validation
from recsys_po_rl.common.parameters import Scalar

TRASHY_FRACTION = 0.7  # share of trashy topics; SPEC of the world, after recsim_ng's application
QUALITY_STDDEV = 0.1  # standard deviation of a document's quality around its topic's mean
MAX_REFERENCE_SEED = 2**32 - 1  # upper limit of NumPy's legacy generator
_INTEGER_FIELDS = (fields.DOC_ID, fields.DOC_TOPIC)
FEATURE_STDDEV = 0.7  # standard deviation of a document's features around its topic's one-hot vector


def topic_mean_qualities(
    num_topics: int, minimum: float = -1.0, maximum: float = 1.0, trashy_fraction: float = TRASHY_FRACTION
) -> np.ndarray:
    """Return the mean quality of each topic.

    Trashy topics come first, evenly spaced from `minimum` to 0, then nutritious topics from 0 to `maximum`.

    Args:
      num_topics: K, at least 2.
      minimum: mean quality of the worst topic.
      maximum: mean quality of the best topic.
      trashy_fraction: share of trashy topics; their number is fraction * K rounded down, computed exactly from the
        fraction's decimal digits (in floats, 0.7 * 90 is just below 63).

    Returns:
      float32 [K]. For K = 2 and 3, with the default fraction, all topic means are at most 0.
    """
    num_trashy = int(fractions.Fraction(str(trashy_fraction)) * num_topics)
    means = np.concatenate([np.linspace(minimum, 0.0, num_trashy), np.linspace(0.0, maximum, num_topics - num_trashy)])
    return means.astype(np.float32)


@gin_config.configurable
class CorpusWithTopicAndQuality(corpus.Corpus):
    """Random corpus, constant after it is drawn.

    Reads num_docs (D) and num_topics (K) from the config. Real-valued parameters except `trashy_fraction` may be
    tensors or variables, which are read whenever documents are drawn.

    State and available documents have the same fields:
      doc_id: int32 [D], 1..D.
      doc_topic: int32 [D], 0..K-1, uniform.
      doc_quality: float32 [D], normal around the topic's mean quality.
      doc_features: float32 [D, K], normal around the one-hot vector of the topic, unbounded.
      doc_length: float32 [D], at least 0, in units of time.
    """

    def __init__(
        self,
        config: Config,
        topic_min_utility: Scalar = -1.0,
        topic_max_utility: Scalar = 1.0,
        video_length: Scalar = 2.0,
        trashy_fraction: float = TRASHY_FRACTION,
        quality_stddev: Scalar = QUALITY_STDDEV,
        feature_stddev: Scalar = FEATURE_STDDEV,
    ) -> None:
        """Create the entity.

        Args:
          config: num_docs at least 1, num_topics at least 2.
          topic_min_utility: mean quality of the worst trashy topic, at most 0.
          topic_max_utility: mean quality of the best nutritious topic, at least 0.
          video_length: length of every document, at least 0, in units of time.
          trashy_fraction: share of trashy topics, 0 to 1 (see `topic_mean_qualities`).
          quality_stddev: standard deviation of the qualities within a topic, above 0.
          feature_stddev: standard deviation of the features, above 0.

        Raises:
          InvalidInputError: if a number is out of these bounds, or not finite.
        """
        owner = type(self).__name__
        validation.config_value(config, "num_docs", 1, owner)
        validation.config_value(config, "num_topics", 2, owner)
        super().__init__(config, name="Corpus")
        self._min_utility = parameters.scalar(f"{owner}: topic_min_utility", topic_min_utility, maximum=0.0)
        self._max_utility = parameters.scalar(f"{owner}: topic_max_utility", topic_max_utility, minimum=0.0)
        self._trashy_fraction = validation.number(f"{owner}: trashy_fraction", trashy_fraction, 0.0, 1.0)
        self._video_length = parameters.scalar(f"{owner}: video_length", video_length, 0.0)
        self._quality_stddev, self._feature_stddev = (
            parameters.scalar(f"{owner}: {name}", given, 0.0, exclusive_minimum=True)
            for name, given in (("quality_stddev", quality_stddev), ("feature_stddev", feature_stddev))
        )
        self._warn_without_positive_topic()

    def _topic_means(self) -> tf.Tensor:
        """Return the topics' mean qualities; float32 [K]."""
        if isinstance(self._min_utility, float) and isinstance(self._max_utility, float):
            return tf.constant(
                topic_mean_qualities(self._num_topics, self._min_utility, self._max_utility, self._trashy_fraction)
            )
        # Means are linear in both bounds.
        of_worst, of_best = (
            topic_mean_qualities(self._num_topics, *bounds, self._trashy_fraction)
            for bounds in ((1.0, 0.0), (0.0, 1.0))
        )
        return of_worst * parameters.read(self._min_utility) + of_best * parameters.read(self._max_utility)

    def _warn_without_positive_topic(self) -> None:
        has_effect = not isinstance(self._max_utility, float) or self._max_utility > 0
        if has_effect and topic_mean_qualities(self._num_topics, 0.0, 1.0, self._trashy_fraction).max() <= 0:
            warnings.warn(
                f"{type(self).__name__}: with num_topics={self._num_topics} no topic has a positive mean quality and "
                "topic_max_utility has no effect (lower trashy_fraction to change that)",
                stacklevel=3,
            )

    def initial_state(self) -> Value:
        """Draw the documents; see the class for the fields."""
        topic = ed.Categorical(logits=tf.zeros((self._num_docs, self._num_topics)))
        means = self._topic_means()
        one_hot = tf.one_hot(topic, self._num_topics, dtype=tf.float32)
        return Value(
            doc_id=ed.Deterministic(loc=tf.range(1, self._num_docs + 1, dtype=tf.int32)),
            doc_topic=topic,
            doc_quality=ed.Normal(loc=tf.gather(means, topic), scale=parameters.read(self._quality_stddev)),
            doc_features=ed.Normal(loc=one_hot, scale=parameters.read(self._feature_stddev)),
            doc_length=ed.Deterministic(loc=self._lengths()),
        )

    def _lengths(self) -> tf.Tensor:
        """Return the length of each document; float32 [D]."""
        return tf.fill((self._num_docs,), parameters.read(self._video_length))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Return the previous state, because documents do not change."""
        del user_response, slate_docs
        return previous_state.map(lambda field: ed.Deterministic(loc=field))

    def available_documents(self, corpus_state: Value) -> Value:
        """Return all documents of the corpus."""
        return corpus_state.map(lambda field: ed.Deterministic(loc=field))

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `available_docs`."""
        num_docs, num_topics = self._num_docs, self._num_topics
        documents = ValueSpec(
            doc_id=fields.tensor_spec((num_docs,), low=1, high=num_docs, dtype=tf.int32),
            doc_topic=fields.tensor_spec((num_docs,), low=0, high=num_topics - 1, dtype=tf.int32),
            doc_quality=fields.tensor_spec((num_docs,)),
            doc_features=fields.tensor_spec((num_docs, num_topics)),
            doc_length=fields.tensor_spec((num_docs,), low=0.0),
        )
        return documents.prefixed_with("state").union(documents.prefixed_with("available_docs"))


@gin_config.configurable
class StaticCorpus(CorpusWithTopicAndQuality):
    """Corpus of given documents; fields as in `CorpusWithTopicAndQuality`, plain tensors in the state.

    Ids need not be 1..D in order: any D distinct ids in the range of the recommender's scorer are allowed.
    """

    def __init__(self, config: Config, static_state: Value, video_length: Optional[Scalar] = None) -> None:
        """Create the entity.

        Args:
          config: num_docs at least 1, num_topics at least 2.
          static_state: the five document fields, each convertible to a tensor of its shape, ids and topics as integers,
            the other fields as numbers; additional fields are kept. Variables are read whenever the state is read.
          video_length: length of every document, at least 0, replacing the field doc_length; None: use the field.

        Raises:
          InvalidInputError: if a field is missing, its shape or type does not fit, ids are not distinct or below 1, a
            topic is not in 0..K-1, a number is not finite, or a length is negative.
        """
        if not isinstance(static_state, Value):
            raise validation.InvalidTypeError(
                f"StaticCorpus: static_state must be a Value, got {type(static_state).__name__}"
            )
        with warnings.catch_warnings():  # warnings about drawn documents do not apply to given documents
            warnings.simplefilter("ignore")
            super().__init__(config, video_length=2.0 if video_length is None else video_length)
        state = static_state.map(lambda field: field if parameters.is_read_late(field) else tf.convert_to_tensor(field))
        state = state.as_dict
        if video_length is not None:
            state[fields.DOC_LENGTH] = self._lengths()
        self._reads_length = video_length is not None and not isinstance(self._video_length, float)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(fields.DOC_FIELDS, (self._num_docs,))
        shapes[fields.DOC_FEATURES] = (self._num_docs, self._num_topics)
        for field, shape in shapes.items():
            if field not in state:
                raise validation.InvalidInputError(
                    f"StaticCorpus: static_state lacks {field!r}, it has {', '.join(state)}"
                )
            if not state[field].shape.is_compatible_with(shape):
                raise validation.InvalidInputError(
                    f"StaticCorpus: static_state's {field!r} must have shape {shape}, got {tuple(state[field].shape)}"
                )
            _check_type(field, state[field].dtype)
            if not parameters.is_read_late(state[field]):
                _check_values(field, tf.get_static_value(_of_type(field, state[field])), self._num_topics)
        self._static_state = Value(**state)

    def initial_state(self) -> Value:
        """Return the given documents as plain tensors, variables with their current values."""
        state = {
            field: _of_type(field, tf.convert_to_tensor(given)) for field, given in self._static_state.as_dict.items()
        }
        if self._reads_length:
            state[fields.DOC_LENGTH] = self._lengths()
        return Value(**state)

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Return the previous state, as plain tensors."""
        del user_response, slate_docs
        return previous_state

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `available_docs`, including additional fields of the given state."""
        further = ValueSpec(
            **{field: field_spec.FieldSpec() for field in self._static_state.as_dict if field not in fields.DOC_FIELDS}
        )
        return super().specs().union(further.prefixed_with("state").union(further.prefixed_with("available_docs")))


def _check_type(field: str, dtype: tf.DType) -> None:
    """Raise for ids and topics that are not integers, and other document fields that are not numbers."""
    if field in _INTEGER_FIELDS and not dtype.is_integer:
        raise validation.InvalidTypeError(f"StaticCorpus: static_state's {field!r} must be integers, got {dtype.name}")
    if not (dtype.is_floating or dtype.is_integer):
        raise validation.InvalidTypeError(f"StaticCorpus: static_state's {field!r} must be numbers, got {dtype.name}")


def _of_type(field: str, given: tf.Tensor) -> tf.Tensor:
    """Return a field as int32 or float32; additional fields unchanged."""
    if field not in fields.DOC_FIELDS:
        return given
    return tf.cast(given, tf.int32 if field in _INTEGER_FIELDS else tf.float32)


def _check_values(field: str, values: Optional[np.ndarray], num_topics: int) -> None:
    """Raise for invalid values of a document field; unknown values (None) are accepted."""
    if values is None:
        return
    name = f"StaticCorpus: static_state's {field!r} must be"
    if field == fields.DOC_ID:
        if values.min() < 1:
            raise validation.InvalidInputError(f"{name} at least 1, got {values.min()}")
        if len(np.unique(values)) < len(values):
            raise validation.InvalidInputError(f"{name} different, got {len(np.unique(values))} ids of {len(values)}")
    elif field == fields.DOC_TOPIC:
        outside = values[(values < 0) | (values >= num_topics)]
        if outside.size:
            raise validation.InvalidInputError(f"{name} between 0 and {num_topics - 1}, got {outside[0]}")
    else:
        least, bound = (0.0, " and at least 0") if field == fields.DOC_LENGTH else (-np.inf, "")
        impossible = values[~(np.isfinite(values) & (values >= least))]
        if impossible.size:
            raise validation.InvalidInputError(f"{name} finite{bound}, got {impossible[0]}")


def reference_corpus_state(
    num_docs: int,
    num_topics: int,
    seed: int,
    video_length: float = 2.0,
    topic_min_utility: float = -1.0,
    topic_max_utility: float = 1.0,
    trashy_fraction: float = TRASHY_FRACTION,
    quality_stddev: float = QUALITY_STDDEV,
    feature_stddev: float = FEATURE_STDDEV,
) -> Value:
    """Return documents drawn with NumPy's legacy generator: the corpora of this project's published figures.

    Topic, quality and features follow `CorpusWithTopicAndQuality`, drawn in that order from RandomState(seed), so that
    other implementations can draw the same documents without TensorFlow.

    Args:
      num_docs: D, at least 1.
      num_topics: K, at least 2.
      seed: 0 to 2**32 - 1.
      video_length: length of every document, in units of time.
      topic_min_utility: mean quality of the worst trashy topic.
      topic_max_utility: mean quality of the best nutritious topic.
      trashy_fraction: share of trashy topics, see `topic_mean_qualities`.
      quality_stddev: standard deviation of the qualities within a topic.
      feature_stddev: standard deviation of the features.

    Returns:
      The five document fields as NumPy arrays, float32 and int32; see `CorpusWithTopicAndQuality`.
    """
    random_state = np.random.RandomState(seed)
    topic = random_state.randint(0, num_topics, num_docs)
    means = topic_mean_qualities(num_topics, topic_min_utility, topic_max_utility, trashy_fraction)
    quality = means[topic] + quality_stddev * random_state.randn(num_docs)
    features = np.eye(num_topics)[topic] + feature_stddev * random_state.randn(num_docs, num_topics)
    return Value(
        doc_id=np.arange(1, num_docs + 1, dtype=np.int32),
        doc_topic=topic.astype(np.int32),
        doc_quality=quality.astype(np.float32),
        doc_features=features.astype(np.float32),
        doc_length=np.full(num_docs, video_length, np.float32),
    )


@gin_config.configurable
class ReferenceCorpus(StaticCorpus):
    """Static corpus of `reference_corpus_state`: equal seeds give equal documents on every machine."""

    def __init__(
        self,
        config: Config,
        seed: Optional[int] = None,
        video_length: float = 2.0,
        topic_min_utility: float = -1.0,
        topic_max_utility: float = 1.0,
        trashy_fraction: float = TRASHY_FRACTION,
        quality_stddev: float = QUALITY_STDDEV,
        feature_stddev: float = FEATURE_STDDEV,
    ) -> None:
        """Create the entity.

        Args:
          config: num_docs at least 1, num_topics at least 2; corpus_seed unless `seed` is given.
          seed: seed of the documents, 0 to 2**32 - 1.
          video_length: length of every document, at least 0, in units of time.
          topic_min_utility: mean quality of the worst trashy topic, at most 0.
          topic_max_utility: mean quality of the best nutritious topic, at least 0.
          trashy_fraction: share of trashy topics, 0 to 1 (see `topic_mean_qualities`).
          quality_stddev: standard deviation of the qualities within a topic, at least 0.
          feature_stddev: standard deviation of the features, at least 0.

        Raises:
          InvalidInputError: if a number is out of these bounds, or neither seed is given.
        """
        owner = "ReferenceCorpus"
        chosen: Any = config.get("corpus_seed") if seed is None else seed
        chosen = validation.integer(f"{owner}: seed (or config['corpus_seed'])", chosen, 0)
        if chosen > MAX_REFERENCE_SEED:
            raise validation.InvalidInputError(f"{owner}: seed must be at most {MAX_REFERENCE_SEED}, got {chosen}")
        state = reference_corpus_state(
            validation.config_value(config, "num_docs", 1, owner),
            validation.config_value(config, "num_topics", 2, owner),
            chosen,
            validation.number(f"{owner}: video_length", video_length, 0.0),
            validation.number(f"{owner}: topic_min_utility", topic_min_utility, maximum=0.0),
            validation.number(f"{owner}: topic_max_utility", topic_max_utility, 0.0),
            validation.number(f"{owner}: trashy_fraction", trashy_fraction, 0.0, 1.0),
            validation.number(f"{owner}: quality_stddev", quality_stddev, 0.0),
            validation.number(f"{owner}: feature_stddev", feature_stddev, 0.0),
        )
        super().__init__(config, state)
