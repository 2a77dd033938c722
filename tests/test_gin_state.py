"""Bindings that gin's own text would drop, and registrations of every origin."""

import enum
import sys
import types

import gin
import numpy as np
import pytest

from recsys_po_rl import gin_config, gin_state, gin_text, user
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import run

STEP = "recsys_po_rl.InterestEvolutionUser.interest_step_size"
USER = "recsys_po_rl.create_interest_evolution_simulation_network.user_ctor"


@gin.register(module="test_gin_state")
def somebody(config, mass=1.0):
    return config, mass


class Colour(enum.Enum):
    RED = 1


@pytest.fixture(autouse=True)
def _no_constant_outlives_its_test():
    yield
    with gin.unlock_config():
        gin.clear_config(clear_constants=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.25), "0.25"),
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), "True"),
        (np.str_("a"), "'a'"),
        (np.array(2), "2"),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), "[[1.0, 2.0], [3.0, 4.0]]"),
        ([np.int32(1), (np.float64(2.5),), {"a": np.array([1])}], "[1, (2.5,), {'a': [1]}]"),
        (somebody, "@test_gin_state.somebody"),
    ],
)
@pytest.mark.parametrize("by_constant", [False, True])
def test_the_text_has_numpy_values_constants_and_registered_functions(value, text, by_constant):
    if by_constant:
        gin.constant("settings.GIVEN", value)
        gin.parse_config(f"{STEP} = %settings.GIVEN")
    else:
        gin.bind_parameter(STEP, value)

    bound = gin_text.bindings(gin_config.config_text())

    assert bound[STEP].replace("@somebody", "@test_gin_state.somebody") == text
    gin_state.raise_if_not_writable()


def test_a_macro_of_a_numpy_number_can_be_read_again():
    gin.parse_config(f"{STEP} = %SIZE\nSIZE = 1.0")
    gin.bind_parameter("SIZE/gin.macro.value", np.float64(8.0))

    text = gin_config.config_text()
    with gin.unlock_config():
        gin.clear_config()
    gin_config.parse_text(text)

    assert gin.query_parameter("SIZE/gin.macro.value") == 8.0
    assert "SIZE = 8.0" in text


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "a value of type builtins.object"),
        (float("nan"), "nan"),
        (lambda: None, "<lambda>"),
        ({"a": [object()]}, "a value of type builtins.dict"),
        (Colour.RED, "a value of type"),
    ],
)
def test_a_value_without_a_text_is_refused_before_anything_is_written(value, named, tmp_path):
    gin.bind_parameter(("few", "recsys_po_rl.InterestEvolutionUser", "interest_step_size"), value)

    with pytest.raises(validation.InvalidInputError) as error:
        run.experiment(output_dir=str(tmp_path / "run"))

    message = gin_config.first_line(error.value)
    assert message.startswith(f"gin: few/{STEP} is bound to ")
    assert named in message
    assert "bind finite numbers" in message
    assert not (tmp_path / "run").exists()


def test_a_constant_without_a_text_is_refused_unless_the_text_imports_its_module():
    gin.constant("settings.RED", Colour.RED)
    gin.parse_config(f"{STEP} = %settings.RED")
    with pytest.raises(validation.InvalidInputError, match="interest_step_size is bound to"):
        gin_state.raise_if_not_writable()

    gin.parse_config(f"import {Colour.__module__}")
    gin_state.raise_if_not_writable()


def test_the_text_imports_the_module_that_registers_a_bound_class(tmp_path, monkeypatch):
    source = "import gin\n@gin.configurable(module='recsys_po_rl')\ndef only_in_python(config, mass=1.0):\n    pass\n"
    (tmp_path / "own_users_of_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("own_users_of_a_test")
    gin.parse_config(f"{USER} = @recsys_po_rl.only_in_python")

    assert gin_text.imports(gin_config.config_text()) == ["own_users_of_a_test"]
    assert gin_state.needed().not_importable == []

    gin.parse_config("import own_users_of_a_test")
    assert gin_text.imports(gin_config.config_text()) == ["own_users_of_a_test"]


def test_the_projects_own_registrations_need_nothing():
    gin_config.parse(["experiments/default.gin"], [])
    assert gin_state.needed() == ([], [], [])


@pytest.mark.parametrize("origin", ["__main__", "made_in_memory"])
def test_a_class_of_no_importable_module_is_named(origin, monkeypatch):
    monkeypatch.setitem(sys.modules, "made_in_memory", types.ModuleType("made_in_memory"))
    made = type("Made", (user.InterestEvolutionUser,), {"__module__": origin, "__init__": lambda self, config: None})
    monkeypatch.setattr(sys.modules[origin], "Made", made, raising=False)
    gin.external_configurable(made, f"Made_in{origin}", module="recsys_po_rl")
    gin.parse_config(f"{USER} = @recsys_po_rl.Made_in{origin}")

    assert gin_state.needed().not_importable == [f"recsys_po_rl.Made_in{origin}"]


def test_a_class_that_somebody_else_registered_is_handed_over():
    gin.parse_config(f"{USER} = @test_gin_state.somebody")

    needed = gin_state.needed()

    assert [(one.name, one.module, one.wrapped) for one in needed.registrations] == [
        ("somebody", "test_gin_state", somebody)
    ]
    gin_state.register(needed.registrations)  # known already: nothing changes
    gin_state.register([needed.registrations[0]._replace(name="somebody_anew")])
    assert gin.get_configurable("test_gin_state.somebody_anew")(1) == (1, 1.0)


def test_the_text_names_an_active_scope():
    gin.parse_config(f"few/{STEP} = 0.5")
    with gin.config_scope("few"):
        first = gin_config.config_text().splitlines()[0]
    assert first == "# The scope 'few' was active: read this under gin.config_scope('few')."
    assert "scope" not in gin_config.config_text()
