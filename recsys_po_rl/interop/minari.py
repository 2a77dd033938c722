"""Minari datasets of interaction logs; needs Minari (extra `data`). See docs/datasets.md."""

import json
import os
import pathlib
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.logs import episodes, reading
from recsys_po_rl.logs.episodes import Episode, Survey
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.reading import InteractionLog, Paths

NAMESPACE = "recsys-po-rl"
METADATA_KEY = "recsys_po_rl"  # in the dataset's metadata
CHUNK_STEPS = 1 << 14  # of the episodes that are held in memory until they are written
# HDF5 is written in time that is linear in the number of episodes. Minari's "arrow" and "parquet" write a folder for
# each episode, sum up the sizes of all folders after each one, and cannot read infos that are vectors (0.5.4).
DATA_FORMAT = "hdf5"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_MISSING = 'datasets need minari, which is not installed: pip install "recsys_po_rl[data]"'


class _Ends(NamedTuple):
    """Rule by which episodes end."""

    horizon: Optional[int]  # T of the world; None: unknown, and a log that ends is cut off
    is_truncation: bool  # whether the world ends episodes by truncation


def to_minari(
    log: Union[Interactions, InteractionLog, Paths],
    name: str,
    *,
    env: Any = None,
    num_docs: Optional[int] = None,
    slate_size: Optional[int] = None,
    horizon: Optional[int] = None,
    history_length: Optional[int] = None,
    metadata: Optional[Mapping[str, Any]] = None,
    algorithm_name: Optional[str] = None,
    author: Optional[str] = None,
    author_email: Optional[str] = None,
    code_permalink: Optional[str] = None,
    description: Optional[str] = None,
) -> Any:
    """Write a Minari dataset of a log, in which each user is an episode.

    Spaces, observations, actions, rewards and ends are those of the Gymnasium environment for the users of the log; see
    docs/datasets.md. The dataset appears whole, below `MINARI_DATASETS_PATH` or `~/.minari/datasets`, or not at all.
    Memory does not grow with the length of a log in files, but with the numbers of users and items.

    Args:
      log: rows in memory in any order; or a log in files, opened or their paths, with all rows of a user together.
      name: letters, digits, "_" and "-"; the dataset's id is `recsys-po-rl/<name>-v0`.
      env: environment of the log's world, from `gymnasium.make("recsys_po_rl/InterestEvolution-v0", ...)`: its sizes
        are those of the dataset, from which it can be recovered. None: no environment can be recovered.
      num_docs: D; None: that of the metadata, or the largest document id.
      slate_size: S; None: that of the metadata, or the largest slot + 1.
      horizon: T, steps after which the world ends an episode; None: that of the metadata. Where it is unknown, all
        episodes end by truncation.
      history_length: H, of the observations; None: that of the metadata, or 15.
      metadata: JSON object that describes the log; None: that of the file, if `log` is the path of one.
      algorithm_name: name of the policy; None: names of the log's policies.
      author: name of the author; None: not recorded.
      author_email: address of the author; None: not recorded.
      code_permalink: address of the code; None: not recorded.
      description: text on the dataset; None: the numbers of users and the names of the policies.

    Returns:
      minari.MinariDataset: the dataset, as `minari.load_dataset` returns it.

    Raises:
      InvalidInputError: one line, before anything is written: if Minari is not installed, the dataset exists, an
        argument is invalid or contradicts the log, or the log has rows that cannot be right, or incomplete episodes.
    """
    minari = _imported()
    dataset_id = f"{NAMESPACE}/{_checked_name(name)}-v0"
    texts = {"algorithm_name": algorithm_name, "author": author, "author_email": author_email}
    texts |= {"code_permalink": code_permalink, "description": description}
    for argument, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise validation.InvalidTypeError(f"{argument} must be a text or None, got {validation.shown(text)}")
    given = {"num_docs": num_docs, "slate_size": slate_size, "horizon": horizon, "history_length": history_length}
    given = {key: None if value is None else validation.integer(key, value, 1) for key, value in given.items()}
    described = _checked_metadata(log, metadata)
    world = None if env is None else _checked_environment(given, env)
    path = _free_path(dataset_id)
    batches = _batches_of(log)
    surveyed = episodes.survey(episodes.by_user(batches()))
    sizes, ends = _sizes(given, world, described, surveyed)
    users = episodes.by_user(batches())
    policies = ", ".join(surveyed.policies)
    texts["algorithm_name"] = texts["algorithm_name"] or policies or None
    texts["description"] = texts["description"] or (
        f"Interactions of {surveyed.num_users} users with recommendations"
        f"{' of ' * bool(policies)}{policies}; each user is an episode."
    )
    from recsys_po_rl.interop.spaces import spaces_of

    observation_space, action_space = spaces_of(**sizes)
    hidden = path.parent.parent / f".{NAMESPACE}-{name}-{uuid.uuid4().hex[:8]}"  # Minari lists no hidden folders
    _create_empty(
        minari,
        dataset_id,
        path,
        env=world,
        observation_space=observation_space,
        action_space=action_space,
        **texts,
    )
    try:
        os.rename(path, hidden)
        dataset = minari.MinariDataset(hidden / "data")
        dataset.storage.update_metadata({METADATA_KEY: {"log": described, "sizes": sizes}})
        for chunk in _chunks(_buffers(users, sizes, ends)):
            dataset.update_dataset_from_buffer(chunk)
        _rename(hidden, path, dataset_id)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return minari.load_dataset(dataset_id)


def _imported() -> Any:
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise validation.InvalidInputError(f"minari: {_MISSING}") from error
    return minari


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise validation.InvalidInputError(
            f"name must be at most 100 letters, digits, '_' and '-', beginning with a letter or a digit (the dataset's "
            f"id is '{NAMESPACE}/<name>-v0'), got {validation.shown(name)}"
        )
    return name


def _free_path(dataset_id: str) -> pathlib.Path:
    from minari.storage import get_dataset_path

    try:
        path = pathlib.Path(get_dataset_path(dataset_id))
    except OSError as error:
        raise _unwritable(dataset_id, error) from error
    if os.path.lexists(path):
        raise _existing(dataset_id, path)
    return path


def _existing(dataset_id: str, path: pathlib.Path) -> validation.InvalidInputError:
    return validation.InvalidInputError(
        f"minari: the dataset {dataset_id} exists already, in {validation.shown(str(path))}: choose another name, or "
        f"remove it by minari.delete_dataset('{dataset_id}')"
    )


def _unwritable(dataset_id: str, error: OSError) -> validation.InvalidInputError:
    return validation.InvalidInputError(
        f"minari: the dataset {dataset_id} cannot be written: {validation.one_line(str(error))}"
    )


def _batches_of(log: Any) -> Callable[[], Iterable[Interactions]]:
    """Return a function that returns the batches of the log, each time anew."""
    if isinstance(log, Interactions):
        rows = episodes.validated(log)
        return lambda: [rows]
    opened = log if isinstance(log, InteractionLog) else reading.open_interactions(log)
    return opened.batches


def _checked_metadata(log: Any, metadata: Any) -> dict[str, Any]:
    if metadata is None:
        if isinstance(log, (Interactions, InteractionLog)):
            return {}
        paths = [log] if isinstance(log, (str, os.PathLike)) else log
        return reading.read_metadata(paths[0]) if len(paths) == 1 else {}
    if not isinstance(metadata, Mapping):
        raise validation.InvalidTypeError(f"metadata must be a JSON object, got {validation.shown(metadata)}")
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        reason = validation.one_line(str(error))
        raise validation.InvalidInputError(f"metadata must be a JSON object: {reason}") from error
    return dict(metadata)


def _checked_environment(given: Mapping[str, Optional[int]], env: Any) -> Any:
    from recsys_po_rl.interop.gymnasium import ENVIRONMENT_ID, InterestEvolutionEnv

    world = getattr(env, "unwrapped", None)
    if not isinstance(world, InterestEvolutionEnv) or world.spec is None:
        raise validation.InvalidInputError(
            f"env must be made by gymnasium.make('{ENVIRONMENT_ID}', ...), got {validation.shown(env)}"
        )
    for name, value in given.items():
        if value is not None:
            raise validation.InvalidInputError(f"{name} must be None with env, whose own is used, got {value}")
    try:
        world.spec.to_json()
    except TypeError as error:
        reason = validation.one_line(str(error))
        raise validation.InvalidInputError(f"env: its options must be texts, numbers and lists: {reason}") from error
    return world


def _sizes(
    given: Mapping[str, Optional[int]], world: Any, metadata: Mapping[str, Any], surveyed: Survey
) -> tuple[dict[str, int], _Ends]:
    """Return D, S, T and H by the names of `spaces_of`, and the rule by which episodes end."""
    if world is not None:
        observations: Any = world.observation_space
        sizes = {
            "num_docs": int(observations["slate"].nvec[0]) - 1,
            "slate_size": len(observations["slate"].nvec),
            "horizon": world.horizon,
            "history_length": len(observations["doc_history"].nvec),
        }
        ends = _Ends(world.horizon, is_truncation=bool(world.spec.kwargs.get("truncate", False)))
    else:
        documents = metadata.get("documents")
        stated: dict[str, Any] = {**metadata, **(documents if isinstance(documents, Mapping) else {})}
        default = {**surveyed._asdict(), "history_length": episodes.HISTORY_LENGTH}
        known = dict(given)
        for name, value in given.items():
            if value is None and stated.get(name) is not None:
                known[name] = validation.integer(f"metadata: {name}", stated[name], 1)
        sizes = {name: default[name] if value is None else value for name, value in known.items()}
        ends = _Ends(known["horizon"], is_truncation=False)
    for name in ("num_docs", "slate_size", "horizon"):
        least = getattr(surveyed, name)
        if sizes[name] < least:
            raise validation.InvalidInputError(f"{name} must be at least that of the log, {least}, got {sizes[name]}")
    for name in ("slate_size", "history_length"):
        if sizes[name] > episodes.MAX_WIDTH:
            raise validation.InvalidInputError(f"{name} must be at most {episodes.MAX_WIDTH}, got {sizes[name]}")
    return sizes, ends


def _create_empty(minari: Any, dataset_id: str, path: pathlib.Path, **options: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of author, env and others that are None
            minari.create_dataset_from_buffers(dataset_id, [], data_format=DATA_FORMAT, **options)
    except FileExistsError as error:  # another process has created it meanwhile
        raise _existing(dataset_id, path) from error
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise _unwritable(dataset_id, error) from error


def _rename(hidden: pathlib.Path, path: pathlib.Path, dataset_id: str) -> None:
    try:
        os.rename(hidden, path)  # fails if the folder exists and is not empty
    except OSError as error:
        raise (_existing(dataset_id, path) if path.exists() else _unwritable(dataset_id, error)) from error


def _chunks(buffers: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    num_steps = 0
    for buffer in buffers:
        chunk.append(buffer)
        num_steps += len(buffer)
        if num_steps >= CHUNK_STEPS:
            yield chunk
            chunk, num_steps = [], 0
    if chunk:
        yield chunk


def _buffers(users: Iterable[Interactions], sizes: Mapping[str, int], ends: _Ends) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    for rows in users:
        episode = episodes.episode_of(rows, sizes["slate_size"])
        last = np.arange(len(episode.choices)) == len(episode.choices) - 1
        is_truncation = ends.is_truncation or len(last) != ends.horizon
        yield EpisodeBuffer(
            observations=episodes.observations_of(episode, sizes["history_length"]),
            actions=episodes.actions_of(episode),
            rewards=episode.consumed_times.astype(np.float64),
            terminations=last & (not is_truncation),
            truncations=last & is_truncation,
            infos=_infos(episode, rows),
        )


def _infos(episode: Episode, rows: Interactions) -> dict[str, Any]:
    """Return the infos of the reset and of each step; those of the reset are unknown."""
    num_steps = len(episode.choices)
    duplicates = np.count_nonzero(episode.slates == episodes.EMPTY, axis=1)
    infos: dict[str, Any] = {
        "user_id": np.full(num_steps + 1, episode.user_id, np.int64),
        "duplicates": np.concatenate([[0], duplicates]).astype(np.int32),
    }
    known = {
        "propensity": (rows.propensity, episode.propensities),
        "propensity_prefix": (rows.propensity_prefix, episode.prefix_propensities),
        "propensity_item": (rows.propensity_item, episode.item_propensities),
    }
    for name, (column, values) in known.items():
        if column is not None:
            infos[name] = np.concatenate([np.full((1, *values.shape[1:]), np.nan), values])
    if rows.policy is not None:
        infos["policy"] = ["", *episode.policies]
    return infos
