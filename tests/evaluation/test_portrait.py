"""Portraits: worked by hand, segments, and the same whatever the batches."""

import json

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, user
from recsys_po_rl.evaluation import behaviour, portrait

# A world of four documents and three topics, of which topic 1 has none; four users, slates of two, T = 3 responses.
TOPIC = np.array([-1, 0, 0, 2, 2], np.int32)  # by id, from 1
QUALITY = np.array([np.nan, -1.0, -0.5, 0.25, 1.0], np.float32)
SLATES = np.array(
    [
        [[1, 2], [1, 3], [1, 2], [2, 1]],
        [[3, 4], [3, 4], [1, 2], [4, 3]],
        [[4, 3], [4, 3], [4, 2], [4, 3]],
        [[1, 1], [1, 1], [1, 1], [1, 1]],  # shown after the last response that counts
    ],
    np.int32,
)
CHOICE = np.array([[0, 1, 2, 1], [2, 2, 2, 2], [0, 0, 0, 1], [0, 0, 0, 0]], np.int32)
REWARD = np.array([[9, 9, 9, 9], [1, 2, 0, 3], [0, 0, 0, 0], [4, 4, 4, 0]], np.float32)
FIRST_TASTE = np.array([0.3, -0.2, 0.1, 0.8], np.float32)


def trajectory(users=slice(None), **left_out):
    interest = np.zeros((4, 4, 3), np.float32) + FIRST_TASTE[:, np.newaxis]
    interest[1:] += 1.0  # later interests do not choose the segment
    values = {
        fields.METRICS_STATE: Value(**{fields.REWARD: REWARD[:, users]}),
        fields.USER_RESPONSE: Value(**{fields.CHOICE: CHOICE[:, users]}),
        fields.USER_STATE: Value(**{fields.INTEREST: interest[:, users]}),
        fields.SLATE_DOCS: Value(
            doc_id=SLATES[:, users], doc_topic=TOPIC[SLATES[:, users]], doc_quality=QUALITY[SLATES[:, users]]
        ),
    }
    return {name: value for name, value in values.items() if name not in left_out.get("without", ())}


def first_component(interest):
    return interest[:, 0].astype(np.float64)


def collected(*batches, taste=first_component, horizon=3):
    collector = portrait.Collector(horizon, 3, taste)
    for batch, num_users in batches:
        collector.add(batch, num_users)
    return collector.result().to_json()


def test_worked_by_hand():
    found = collected((trajectory(), 4))
    assert found["num_users"] == 4
    # In order of taste: users 1, 2, 0, 3; thirds of 2, 1, 1.
    sizes = {name: of["num_users"] for name, of in found["segments"].items()}
    assert sizes == {"all": 4, "toward_trash": 2, "between": 1, "toward_nutrition": 1}
    tastes = [of["mean_taste"] for of in found["segments"].values()]
    assert tastes == pytest.approx([0.25, -0.05, 0.3, 0.8], abs=1e-6)
    rewards = {name: of["reward_per_step"]["mean"] for name, of in found["users"].items()}
    assert rewards == {
        "all": [1.5, 0.0, 3.0], "toward_trash": [1.0, 0.0, 4.0], "between": [1.0, 0.0, 4.0],
        "toward_nutrition": [3.0, 0.0, 0.0],
    }  # fmt: skip
    assert found["users"]["all"]["click_rate"]["mean"] == [0.75, 0.0, 1.0]
    # Consumed first: documents 1, 3, 1 of qualities -1, 0.25, -1; then nothing; then 4, 4, 4, 3.
    assert found["users"]["all"]["mean_quality_consumed"]["mean"] == pytest.approx(
        [-1.75 / 3, None, 3.25 / 4], abs=1e-5
    )
    assert found["topics_shown"] == [[7 / 8, 0.0, 1 / 8], [0.25, 0.0, 0.75], [1 / 8, 0.0, 7 / 8]]
    assert found["topics_clicked"] == [pytest.approx([2 / 3, 0.0, 1 / 3], abs=1e-5), None, [0.0, 0.0, 1.0]]
    early, late = found["documents_early"], found["documents_late"]
    assert [doc["doc_id"] for doc in early] == [1, 2, 3]
    assert early[0] == {"doc_id": 1, "topic": 0, "quality": -1.0, "in_slates": 1.0, "click_rate": 0.5}
    assert early[2] == {"doc_id": 3, "topic": 2, "quality": 0.25, "in_slates": 0.25, "click_rate": 1.0}
    assert [(doc["doc_id"], doc["in_slates"], doc["click_rate"]) for doc in late] == [
        (4, 1.0, 0.75), (3, 0.75, pytest.approx(1 / 3, abs=1e-5)), (2, 0.25, 0.0),
    ]  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_batches_and_users_that_do_not_count_change_nothing():
    whole = collected((trajectory(slice(0, 3)), 3))
    assert collected((trajectory(slice(0, 2)), 2), (trajectory(slice(2, 4)), 1)) == whole


def test_no_more_users_than_are_portrayed(monkeypatch):
    monkeypatch.setattr(portrait, "NUM_USERS", 3)
    assert collected((trajectory(), 4), (trajectory(), 4)) == collected((trajectory(), 3))


@pytest.mark.parametrize("taste", [None, first_component])
def test_without_interests_or_tastes_there_is_one_segment(taste):
    batch = trajectory(without=[fields.USER_STATE] if taste else [])
    found = collected((batch, 4), taste=taste)
    assert found["segments"] == {"all": {"num_users": 4, "mean_taste": None}}
    assert ("interest_drift" in found["users"]["all"]) == (taste is None)


def test_without_slates_and_responses_rewards_remain():
    found = collected((trajectory(without=[fields.SLATE_DOCS, fields.USER_RESPONSE]), 4))
    assert found["topics_shown"] == [None] * 3
    assert found["documents_late"] == []
    assert set(found["users"]["all"]) == {"reward_per_step", "interest_drift"}


def test_parts_are_those_of_the_collector():
    assert portrait.parts(3) == [[1, 1], [2, 2], [3, 3]]
    parts = portrait.parts(41)
    assert parts[:2] == [[1, 3], [4, 5]]
    assert (len(parts), parts[-1]) == (portrait.NUM_PARTS, [40, 41])
    assert [last - first + 1 for first, last in parts] == [
        of.stop - of.start for of in behaviour.parts_of(41, portrait.NUM_PARTS)
    ]


def test_taste_is_the_mean_quality_of_a_choice_from_the_whole_catalogue(monkeypatch):
    config = {"num_users": 5, "num_topics": 3, "num_docs": 7, "slate_size": 2, "corpus_seed": 4}
    documents = corpus.ReferenceCorpus(config).initial_state().map(tf.convert_to_tensor)
    interest = np.random.RandomState(1).randn(11, 3).astype(np.float32)
    features, quality = documents.get("doc_features").numpy(), documents.get("doc_quality").numpy()
    expected = []
    for one in interest:
        weights = np.exp(-np.sqrt(((features - one) ** 2).sum(axis=1)))
        expected.append((weights * quality).sum() / weights.sum())
    entity = user.InterestEvolutionUser(config)
    np.testing.assert_allclose(portrait.taste(entity, documents)(interest), expected, rtol=1e-5)
    monkeypatch.setattr(portrait, "LARGEST_TENSOR", 4 * 21)  # four users at once
    np.testing.assert_allclose(portrait.taste(entity, documents)(interest), expected, rtol=1e-5)
