"""Saving and loading of learned policies."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config

from recsys_po_rl.common import validation
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.run_folder import layout, policy_archive
from recsys_po_rl.scoring import keras_parts, rebuilding
from recsys_po_rl.scoring.base import HistoryScorer

_COMPILED = ("optimizer", "metrics", "compiled_loss", "compiled_metrics", "loss", "_loss_tracker", "_metrics")


class TrainedPolicy(NamedTuple):
    """Learned policy of a run."""

    scorer: tf.keras.Model  # weights with the best validation reward
    recommender_ctor: Callable[[Config], Any]  # for `create_interest_evolution_simulation_network`; any num_users


def save(folder: str, recommender: Any) -> None:
    """Write policy.keras atomically, if the recommender has a scorer that Keras can save.

    A scorer that cannot be saved, or that `load_policy` would reject, causes a warning with the remedy.

    Args:
      folder: path of the run folder.
      recommender: the recommender whose scorer, its `model`, is saved.
    """
    model = getattr(recommender, "model", None)
    if not isinstance(model, tf.keras.Model):
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        path = os.path.join(elsewhere, layout.POLICY)
        try:
            model.save(path)
        except (NotImplementedError, TypeError, ValueError) as error:  # user-defined, without `get_config`
            warnings.warn(
                f"{layout.POLICY} is left out: {type(model).__name__} cannot be saved ({_one_line(error)})",
                stacklevel=2,
            )
            return
        reason = _reason_not_to_load(path, model)
        if reason is not None:
            warnings.warn(f"{layout.POLICY} is written, but load_policy cannot load it: {reason}", stacklevel=2)
        with open(path, "rb") as file:
            layout.write_bytes(folder, layout.POLICY, file.read())


def _reason_not_to_load(path: str, model: tf.keras.Model) -> Optional[str]:
    """Return why `load_policy` would reject a saved model, with the remedy; None if the model can be loaded."""
    classes = {tf.keras.utils.get_registered_name(type(part)): type(part) for part in (model, *model.submodules)}
    registered = {name: part for name, part in classes.items() if tf.keras.utils.get_registered_object(name) is part}
    try:
        content = policy_archive.read(path)
        rebuilding.recipe_of(content.config, registered)
    except keras_parts.UnknownClassError as error:
        return (
            f"{error.class_name} is not registered with Keras: write "
            '@tf.keras.utils.register_keras_serializable(package="my_package") above the class, '
            "and define get_config and, if needed, build"
        )
    except ValueError as error:
        return _one_line(error)
    if _num_model_arrays(content) != len(model.variables):
        return (
            f"Keras saved {_num_model_arrays(content)} of {len(model.variables)} variables: "
            "make them with add_weight, or in layers that are attributes of the model"
        )
    return None


def load_policy(
    folder: str,
    recommender_ctor: Callable[..., Any] = CollabFilteringRecommender,
    custom_objects: Optional[Mapping[str, Any]] = None,
    **options: Any,
) -> TrainedPolicy:
    """Load the learned policy of a run, for use in another network.

    The number of documents and the length of the history must equal those of the run; users, topics, slates and
    dynamics may differ:

        policy = recsys_po_rl.load_policy("runs/20310203-040506")
        network = create_interest_evolution_simulation_network(recommender_ctor=policy.recommender_ctor, ...)

    The file may come from an untrusted source: names in it are never imported, resolved or executed. The architecture
    is rebuilt from this project's scorers, a fixed list of Keras layers, and the classes in `custom_objects`; weights
    are read as arrays.

    Args:
      folder: path of the run folder; the folder of one seed if the run has several seeds.
      recommender_ctor: constructor of a recommender that takes a scorer's constructor as `model_ctor`.
      custom_objects: user-defined classes and activations in the file, by the name under which they are registered with
        Keras, such as {"my_package>MyScorer": MyScorer}.
      **options: passed to the recommender, such as greedy.

    Returns:
      The scorer, and a constructor of recommenders, each with its own copy of the scorer.

    Raises:
      InvalidInputError: one line, if the folder or its policy does not exist, the file is damaged or not a policy file,
        or names a class that is neither allowed nor given.
      InvalidTypeError: if an argument has the wrong type.
    """
    path = _path_of(folder)
    validation.constructor("load_policy: recommender_ctor", recommender_ctor)
    given = _custom_objects(custom_objects)

    def scorer(*sizes: Any) -> Any:
        loaded = _read(path, given)
        wanted = {"num_docs": sizes[1], "history_length": sizes[3]} if len(sizes) == 4 else {}
        for name, size in wanted.items():
            if getattr(loaded, name, size) != size:
                raise validation.InvalidInputError(
                    f"the policy of {folder!r} needs {name} = {getattr(loaded, name)}, got {size}"
                )
        return loaded

    def construct(config: Config) -> Any:
        return recommender_ctor(config, model_ctor=scorer, **options)

    return TrainedPolicy(_read(path, given), construct)


def weights_hash(folder: str) -> str:
    """Return a hash of the weights in policy.keras.

    Args:
      folder: path of the folder.

    Raises:
      InvalidInputError: one line, if the folder or its policy does not exist, or the file is damaged.
    """
    arrays = _content(_path_of(folder)).arrays
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def set_weights(folder: str, model: Any) -> None:
    """Set the weights of a scorer from policy.keras, which must hold a scorer of the same class and arguments.

    The file's architecture is compared with the scorer's, and not built: no class needs to be given.

    Args:
      folder: path of the folder.
      model: the scorer; if an error is raised, its weights are undefined.

    Raises:
      InvalidInputError: one line, if the file cannot be read, or holds another scorer.
    """
    path = _path_of(folder)
    if not isinstance(model, tf.keras.Model):
        raise validation.InvalidInputError(
            f"{path!r} holds a Keras model, here the scorer is {validation.shown(type(model).__name__)}"
        )
    content = _content(path)
    _raise_if_other_architecture(path, content.config, model)
    shapes = sorted(array.shape for array in content.arrays.values())
    wanted = sorted(tuple(variable.shape) for variable in model.variables)
    try:
        if shapes != wanted:
            raise policy_archive.DamagedPolicyError(f"its weights have the shapes {shapes}, here they are {wanted}")
        _set_weights(model, content)
    except Exception as error:  # Keras and h5py may raise any exception for a file of another scorer
        raise validation.InvalidInputError(
            f"{path!r} does not fit the scorer {type(model).__name__}: {_one_line(error)}"
        ) from error


def _raise_if_other_architecture(path: str, config: Any, model: tf.keras.Model) -> None:
    """Raise if a file's class or arguments differ from a model's, but for those that no weight depends on."""
    parts = config if isinstance(config, dict) else {}
    name = parts.get("registered_name") or parts.get("class_name")
    own = tf.keras.utils.get_registered_name(type(model))
    if name != own and parts.get("class_name") != own:
        raise validation.InvalidInputError(
            f"{path!r} holds the scorer {validation.shown(name)}, here it is {validation.shown(own)}"
        )
    if not isinstance(model, HistoryScorer):
        return
    theirs, ours = parts.get("config"), json.loads(json.dumps(model.get_config(), default=str))
    if not isinstance(theirs, dict):
        raise validation.InvalidInputError(f"{path!r} holds a scorer without arguments")
    for key in ours:
        if key not in ("name", "num_users", "trainable") and theirs.get(key) != ours[key]:
            raise validation.InvalidInputError(
                f"{path!r} holds a scorer with {key} = {validation.shown(theirs.get(key))}, here it is "
                f"{validation.shown(ours[key])}"
            )


def _content(path: str) -> policy_archive.PolicyFile:
    try:
        return policy_archive.read(path)
    except Exception as error:  # as in `_read`
        raise validation.InvalidInputError(f"{path!r} is no policy that can be read: {_one_line(error)}") from error


def _custom_objects(custom_objects: Any) -> dict[str, Any]:
    given = {} if custom_objects is None else custom_objects
    if not isinstance(given, Mapping) or not all(isinstance(key, str) and callable(given[key]) for key in given):
        raise validation.InvalidTypeError(
            'load_policy: custom_objects must be a dict such as {"my_package>MyScorer": MyScorer}, '
            f"got {keras_parts.shown(custom_objects)}"
        )
    return dict(given)


def _path_of(folder: Any) -> str:
    if not isinstance(folder, (str, os.PathLike)):
        raise validation.InvalidTypeError(f"load_policy: a path of a run folder is needed, got {folder!r}")
    folder = str(os.fspath(folder))
    if not os.path.isdir(folder):
        raise validation.InvalidInputError(f"load_policy: there is no run folder {folder!r}")
    path = os.path.join(folder, layout.POLICY)
    if not os.path.isfile(path):
        seeds = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, layout.POLICY)))
        hint = f"; each of its seeds has one: {', '.join(seeds)}" if seeds else ""
        raise validation.InvalidInputError(f"load_policy: {folder!r} has no {layout.POLICY}{hint}")
    return path


def _read(path: str, given: Mapping[str, Any]) -> Any:
    try:
        content = policy_archive.read(path)
        model = rebuilding.build(
            rebuilding.recipe_of(content.config, given), sum(array.size for array in content.arrays.values())
        )
        _set_weights(model, content)
    except Exception as error:  # for a malicious file zipfile, h5py and constructors may raise any exception
        raise validation.InvalidInputError(
            f"load_policy: {path!r} is no policy that can be read: {_one_line(error)}"
        ) from error
    return model


def _set_weights(model: tf.keras.Model, content: policy_archive.PolicyFile) -> None:
    """Set all weights of a model by Keras's own rules, from a new file that contains only plain arrays."""
    if _num_model_arrays(content) != len(model.variables):
        raise policy_archive.DamagedPolicyError(
            f"it holds {_num_model_arrays(content)} weights, its architecture has {len(model.variables)}"
        )
    with tempfile.TemporaryDirectory() as elsewhere:
        path = os.path.join(elsewhere, "policy.weights.h5")
        policy_archive.write_weights(path, content.arrays)
        model.load_weights(path)


def _num_model_arrays(content: policy_archive.PolicyFile) -> int:
    """Return the number of arrays of the model itself, without those of a compiled model's optimizer."""
    return sum(name.split("/")[0] not in _COMPILED for name in content.arrays)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
