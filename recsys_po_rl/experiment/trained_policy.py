"""The learned policy as a file, and back as parts of a network of one's own."""

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from recsim_ng.core.value import Config

from recsys_po_rl import checks
from recsys_po_rl.artifacts import run_dir
from recsys_po_rl.recommender import CollabFilteringRecommender

_KERAS = ("keras", "tf_keras", "builtins")  # packages whose classes a saved model may name; others must be registered


class TrainedPolicy(NamedTuple):
    """What a run has learned."""

    scorer: tf.keras.Model  # with the weights that validation users liked best
    recommender_ctor: Callable[[Config], Any]  # for `create_interest_evolution_simulation_network`; any num_users


def save(folder: str, recommender: Any) -> None:
    """Writes policy.keras, whole, where the recommender has a scorer that Keras can save.

    Args:
      folder: the run folder.
      recommender: the scorer is its `model`.
    """
    model = getattr(recommender, "model", None)
    if not isinstance(model, tf.keras.Model):
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        path = os.path.join(elsewhere, run_dir.POLICY)
        try:
            model.save(path)
        except (NotImplementedError, TypeError, ValueError) as error:  # a user's own, without `get_config` for one
            why = " ".join(str(error).split())[:200]
            warnings.warn(f"{run_dir.POLICY} is left out: {type(model).__name__} cannot be saved ({why})", stacklevel=2)
            return
        with open(path, "rb") as file:
            run_dir.write_bytes(folder, run_dir.POLICY, file.read())


def load_policy(
    folder: str, recommender_ctor: Callable[..., Any] = CollabFilteringRecommender, **options: Any
) -> TrainedPolicy:
    """Reads what a run has learned, for a network of the user's own.

    The network needs as many documents, and a history as long, as that of the run; users, topics, slates and all laws
    may be others:

        policy = recsys_po_rl.load_policy("runs/20310203-040506")
        network = create_interest_evolution_simulation_network(recommender_ctor=policy.recommender_ctor, ...)

    Args:
      folder: the run folder; that of one seed, if the run has several.
      recommender_ctor: a recommender that takes a scorer's constructor as `model_ctor`.
      **options: passed to it, such as greedy.

    Returns:
      The scorer, and a constructor of recommenders that each have a copy of it.

    Raises:
      checks.InvalidInputError: if there is no such folder, or no policy in it, or it is no model that was saved by
        Keras from classes that are registered with it; one line.
    """
    path = _path_of(folder)
    checks.constructor("load_policy: recommender_ctor", recommender_ctor)

    def scorer(*sizes: Any) -> Any:
        loaded = _read(path)
        wanted = {"num_docs": sizes[1], "history_length": sizes[3]} if len(sizes) == 4 else {}
        for name, size in wanted.items():
            if getattr(loaded, name, size) != size:
                raise checks.InvalidInputError(
                    f"the policy of {folder!r} needs {name} = {getattr(loaded, name)}, got {size}"
                )
        return loaded

    def construct(config: Config) -> Any:
        return recommender_ctor(config, model_ctor=scorer, **options)

    return TrainedPolicy(_read(path), construct)


def _path_of(folder: Any) -> str:
    if not isinstance(folder, (str, os.PathLike)):
        raise checks.InvalidTypeError(f"load_policy: a path of a run folder is needed, got {folder!r}")
    folder = str(os.fspath(folder))
    if not os.path.isdir(folder):
        raise checks.InvalidInputError(f"load_policy: there is no run folder {folder!r}")
    path = os.path.join(folder, run_dir.POLICY)
    if not os.path.isfile(path):
        seeds = sorted(
            name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, run_dir.POLICY))
        )
        hint = f"; each of its seeds has one: {', '.join(seeds)}" if seeds else ""
        raise checks.InvalidInputError(f"load_policy: {folder!r} has no {run_dir.POLICY}{hint}")
    return path


def _read(path: str) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            _raise_if_unknown(json.loads(archive.read("config.json")))
        return tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of whatever kind a file that somebody else wrote leads to
        why = " ".join(str(error).split())[:200]
        raise checks.InvalidInputError(f"load_policy: {path!r} is no policy that can be read: {why}") from error


def _raise_if_unknown(config: Any) -> None:
    """Refuses a model that names other people's modules, which Keras would import and call."""
    if isinstance(config, list):
        for item in config:
            _raise_if_unknown(item)
    if not isinstance(config, dict):
        return
    module = config.get("module")
    if isinstance(module, str) and module.split(".")[0] not in _KERAS:
        name = config.get("registered_name")
        if not isinstance(name, str) or tf.keras.utils.get_registered_object(name) is None:
            raise ValueError(f"it names {module}.{config.get('class_name')}, which is not registered with Keras")
    for item in config.values():
        _raise_if_unknown(item)
