"""Parsing: what is refused, what is handed on, what is told."""

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.training.schedules import Linear

END = "recsys_po_rl.Linear.end"


def schedule(**options):
    return gin_config.wrong_calls_in_one_line(lambda: Linear(**options))


@pytest.mark.parametrize("files_and_bindings", [[], [f"{END} = 0.25"], ["last = 0.25", f"{END} = %last"]])
def test_the_config_of_one_process_is_read_in_another(files_and_bindings):
    import gin

    gin_config.parse([], files_and_bindings)
    text = gin_config.config_text()
    with gin.unlock_config():
        gin.clear_config()
    gin_config.parse_text(text)
    assert gin_config.config_text() == text
    assert Linear()(1.0) == (0.25 if files_and_bindings else 0.0)


def test_a_config_with_a_macro_that_nothing_refers_to_is_read_in_another_process():
    gin_config.parse_text("spare = 3\n")
    gin_config.parse_text(gin_config.config_text())


@pytest.mark.parametrize("binding", ["", "  ", "\n"])
def test_an_empty_binding_is_refused(binding):
    with pytest.raises(validation.InvalidInputError, match="a binding is empty"):
        gin_config.parse([], [binding])


def test_a_macro_has_to_be_referred_to():
    with pytest.raises(validation.InvalidInputError, match="'end' is a macro that nothing refers to"):
        gin_config.parse([], ["end = 0.5"])
    gin_config.parse([], [f"{END} = %end", "end = 0.5"])
    assert Linear()(1.0) == 0.5


def test_bound_scalars_are_numbers_and_texts_by_their_short_names():
    gin_config.parse(
        [],
        [
            f"{END} = 0.25",
            "late/recsys_po_rl.Linear.until = 0.5",
            "recsys_po_rl.PolicyGradientLearner.normalize_advantages = False",
            "recsys_po_rl.PolicyGradientLearner.critic = @recsys_po_rl.LearnedValue",
            "recsys_po_rl.experiment.seeds = [1, 2]",
            "recsys_po_rl.SeededRuntime.mode = 'graph'",
        ],
    )
    assert gin_config.bound_scalars() == {
        "Linear.end": 0.25,
        "late/recsys_po_rl.Linear.until": 0.5,
        "PolicyGradientLearner.normalize_advantages": False,
        "SeededRuntime.mode": "graph",
    }


def test_what_stands_in_the_wrong_place_is_one_line_and_other_errors_pass():
    with pytest.raises(validation.InvalidInputError, match=r"^gin: Linear stands in the wrong place: .*'begin'$"):
        schedule(begin=1.0)()
    with pytest.raises(validation.InvalidInputError, match="Linear: end must be a finite number"):
        schedule(end="x")()

    def faulty():
        raise TypeError("missing 1 required thing")  # not of a call that gin made

    with pytest.raises(TypeError, match="missing 1 required thing"):
        gin_config.wrong_calls_in_one_line(faulty)()
