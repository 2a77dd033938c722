"""Worlds are described by the parameters that entities have, however they came to them."""

import functools
import json

import gin
import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, gin_config, user
from recsys_po_rl.experiment import entity_parameters, evaluation_files
from recsys_po_rl.policies.base import PolicyContext
from recsys_po_rl.simulation.runtime import SeededRuntime

SIZES = {"num_topics": 3, "num_docs": 6, "slate_size": 2}
NUM_USERS, HORIZON = 5, 4
USER = "recsys_po_rl.InterestEvolutionUser"
NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"


class MoodyUser(user.InterestEvolutionUser):
    """A user's own entity: an attribute of its own, and a nested object."""

    def __init__(self, config, mood=1.0, table=None):
        super().__init__(config)
        self._mood = mood
        self._nested = {"table": table, "itself": self}


class CountingUser(user.InterestEvolutionUser):
    """An entity whose attributes change while it runs, and which describes itself therefore."""

    made = 0

    def __init__(self, config, mood=1.0):
        super().__init__(config)
        CountingUser.made += 1
        self._count, self._mood = CountingUser.made, mood

    def world_parameters(self):
        """Parameters for evaluation.json."""
        return {"mood": self._mood}


def world(**options):
    network_ctor = functools.partial(
        gin.get_configurable(NETWORK), **{"corpus_ctor": corpus.ReferenceCorpus, "corpus_seed": 0, **SIZES, **options}
    )
    context = PolicyContext(network_ctor, SeededRuntime, SIZES, 1, HORIZON, NUM_USERS)
    network = context.network()
    found = evaluation_files.world_of(network, context.runtime(network), context)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def bound(*bindings, **options):
    gin.clear_config()
    gin_config.parse([], list(bindings))
    return world(**options)


def by_python(mass):
    return world(user_ctor=functools.partial(user.InterestEvolutionUser, no_click_mass=mass))


WAYS = {
    "macro": lambda mass: bound(f"MASS = {mass}", f"{USER}.no_click_mass = %MASS"),
    "scope": lambda mass: bound(f"few/{USER}.no_click_mass = {mass}", f"{NETWORK}.user_ctor = @few/{USER}"),
    "text": lambda mass: bound(f"{USER}.no_click_mass = {mass}"),
    "number": by_python,
    "tensor": lambda mass: by_python(tf.constant(mass)),
    "variable": lambda mass: by_python(tf.Variable(mass)),
    "array": lambda mass: by_python(np.linspace(0.0, mass, NUM_USERS)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_world_differs_by_a_value_whichever_way_it_came(way):
    one, again, other = (WAYS[way](mass) for mass in (8.0, 8.0, 20.0))
    assert one == again
    differing = {key for key in one if one[key] != other.get(key)}
    assert any("no_click" in key for key in differing)
    assert all(key.startswith("user.") for key in differing)
    if way != "array":
        assert 8.0 in [one[key] for key in differing]
        assert 20.0 in [other[key] for key in differing]


def test_macro_scope_text_and_number_describe_the_same_world():
    found = [WAYS[way](8.0) for way in ("macro", "scope", "text", "number")]
    assert found == [found[0]] * 4


@pytest.mark.parametrize(
    ("role", "entity", "parameter", "values"),
    [
        ("user_ctor", MoodyUser, "mood", (1.0, 2.0)),
        ("user_ctor", MoodyUser, "table", (np.zeros(30), np.arange(30.0))),
        ("user_ctor", CountingUser, "mood", (1.0, 2.0)),
        ("corpus_ctor", corpus.ReferenceCorpus, "seed", (0, 1)),
        ("corpus_ctor", corpus.ReferenceCorpus, "feature_stddev", (0.7, 0.8)),
        ("corpus_ctor", corpus.CorpusWithTopicAndQuality, "quality_stddev", (0.1, 0.2)),
    ],
)
@pytest.mark.filterwarnings("ignore:CorpusWithTopicAndQuality")
def test_entities_and_documents_count_by_their_values(role, entity, parameter, values):
    one, again, other = (world(**{role: functools.partial(entity, **{parameter: values[i]})}) for i in (0, 0, 1))
    assert one == again
    assert one != other


def generator_of(mean):
    return lambda: tf.fill((NUM_USERS, SIZES["num_topics"]), mean)


@gin.configurable("shifted_interests", module="test_entity_parameters")
def shifted_interests(shift=0.0):
    return tf.fill((NUM_USERS, SIZES["num_topics"]), shift)


@pytest.mark.slow
def test_functions_count_by_what_they_close_over_and_what_they_are_called_with():
    def with_generator(generator):
        return world(user_ctor=functools.partial(user.InterestEvolutionUser, initial_interest_generator=generator))

    assert with_generator(generator_of(1.0)) == with_generator(generator_of(1.0))
    assert with_generator(generator_of(1.0)) != with_generator(generator_of(2.0))
    partials = [with_generator(functools.partial(shifted_interests, shift=shift)) for shift in (1.0, 2.0)]
    assert partials[0] != partials[1]
    lazily = [
        bound(
            "few/test_entity_parameters.shifted_interests.shift = 1.0",
            "many/test_entity_parameters.shifted_interests.shift = 2.0",
            f"{USER}.initial_interest_generator = @{scope}/test_entity_parameters.shifted_interests",
        )
        for scope in ("few", "few", "many")
    ]
    assert lazily[0] == lazily[1]
    assert lazily[0] != lazily[2]


def test_the_recommender_and_what_it_is_shown_do_not_count():
    assert world(full_information=True, history_length=3) == world()


def test_names_and_numbers_are_plain():
    found = entity_parameters.parameters(MoodyUser({"num_users": NUM_USERS, **SIZES}, mood=np.float32(0.1)), SIZES)
    assert found["mood"] == 0.1
    assert found["nested.table"] is None
    assert found["nested.itself"].endswith(".MoodyUser")
    assert not any(key.startswith("_") or "._" in key for key in found)
    assert not any(key == "slate_size" for key in found)  # of the configuration


def test_classes_of_the_package_are_named_without_their_module():
    assert entity_parameters._type_of(SeededRuntime) == "recsys_po_rl.SeededRuntime"
    assert entity_parameters._type_of(world) == f"{__name__}.world"
