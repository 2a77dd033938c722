"""Policy files as an attacker would write them, and mutants of valid ones."""

import io
import json
import pathlib
import zipfile

import h5py
import numpy as np
import tensorflow as tf

from recsys_po_rl.run_folder import layout, policy_archive
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel

DOCS, HISTORY = 5, 3
MARKER_MODULE = "leaves_a_mark"


def functional():
    """A scorer of two inputs, of layers that are allowed."""
    ids = tf.keras.Input((HISTORY,), dtype=tf.int32, name="ids")
    times = tf.keras.Input((HISTORY,), name="times")
    looked_up = tf.keras.layers.Flatten()(tf.keras.layers.Embedding(DOCS + 1, 2)(ids))
    joined = tf.keras.layers.Concatenate()([looked_up, times])
    hidden = tf.keras.layers.Dense(4, activation="tanh", kernel_regularizer="l2")(joined)
    return tf.keras.Model([ids, times], tf.keras.layers.Dense(DOCS)(hidden))


def own():
    """A scorer of this project, with weights."""
    model = AveragedHistoryModel(2, DOCS, 2, HISTORY)
    model.build((None, HISTORY))
    return model


def saved(model, folder: pathlib.Path) -> bytes:
    """Bytes of a model's policy file."""
    model.save(folder / layout.POLICY)
    return (folder / layout.POLICY).read_bytes()


def members_of(content: bytes) -> dict[str, bytes]:
    """Members of a policy file by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Bytes of a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_config(content: bytes, config) -> bytes:
    """A policy file with another architecture."""
    return zipped({**members_of(content), policy_archive.CONFIG: json.dumps(config).encode()})


def with_weights(content: bytes, change) -> bytes:
    """A policy file whose HDF5 file was changed by a function of the open file."""
    members = members_of(content)
    file = io.BytesIO(members[policy_archive.WEIGHTS])
    with h5py.File(file, "r+") as opened:
        change(opened)
    return zipped({**members, policy_archive.WEIGHTS: file.getvalue()})


def config_of(content: bytes):
    """A policy file's architecture."""
    return json.loads(members_of(content)[policy_archive.CONFIG])


def calling(function: dict, command: str) -> dict:
    """A model with a Lambda layer that calls a function with a command while it is loaded."""
    keras = {"registered_name": None, "module": "keras.layers"}
    ids = {"batch_input_shape": [None, 3], "dtype": "float32", "sparse": False, "ragged": False, "name": "ids"}
    return {
        "module": "keras.src.engine.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [
                {**keras, "class_name": "InputLayer", "config": ids, "name": "ids", "inbound_nodes": []},
                {
                    **keras,
                    "class_name": "Lambda",
                    "config": {
                        "name": "call",
                        "trainable": True,
                        "dtype": "float32",
                        "function": function,
                        "function_type": "function",
                        "output_shape": None,
                        "output_shape_type": "raw",
                    },
                    "name": "call",
                    "inbound_nodes": [["_CONSTANT_VALUE", -1, command, {}]],
                },
            ],
            "input_layers": [["ids", 0, 0]],
            "output_layers": [["call", 0, 0]],
        },
    }


def _places(value, path=()):
    """Paths to all values inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _marked(random: np.random.Generator):
    """A JSON value that makes Keras import a module which leaves a mark, or call a function of it."""
    name = random.choice(["leave", "os.system", "Mark", "mark.leave"])
    kind = random.choice(["function", name, "__lambda__", "__typespec__", "Lambda", "TFOpLambda"])
    return {
        "module": str(random.choice([MARKER_MODULE, f"tf_keras.{MARKER_MODULE}", "tf_keras.src.utils.data_utils"])),
        "class_name": str(kind),
        "spec_name": str(name),
        "config": random.choice([str(name), {"function": str(name), "value": str(name)}]),
        "registered_name": random.choice([str(name), "recsys_po_rl>GRUModel", None]),
    }


def mutant(config, random: np.random.Generator):
    """A copy of an architecture with one to three values changed, removed or added."""
    copy = json.loads(json.dumps(config))
    values = [
        None, True, False, -1, 0, 1, 3, 2**31, 10**30, 0.5, -1e300, "", "x", "relu", "deserialize", "../../x", "é\n",
        MARKER_MODULE, "os.system", [], {}, [[]], [None, 3], [[["ids", 0, 0, {}]]], {"a": 1}, ["ids", 0, 0],
    ]  # fmt: skip
    for _ in range(random.integers(1, 4)):
        places = list(_places(copy))
        if not places:
            break
        *path, key = places[random.integers(len(places))]
        parent = copy
        for step in path:
            parent = parent[step]
        kind = random.integers(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[str(random.choice(["module", "class_name", "function", "units", "layers", "x"]))] = _marked(random)
        elif kind == 2:
            parent[key] = _marked(random)
        elif kind == 3:
            parent[key] = _at(copy, places[random.integers(len(places))])
        else:
            parent[key] = values[random.integers(len(values))]
    return copy


def _at(value, path):
    for step in path:
        value = value[step]
    return json.loads(json.dumps(value))


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes with flipped bits, a part that is cut off or repeated, or a run of equal bytes."""
    kind = random.integers(4)
    at = int(random.integers(len(content)))
    if kind == 0:
        changed = bytearray(content)
        for place in random.integers(len(content), size=random.integers(1, 9)):
            changed[place] ^= 1 << random.integers(8)
        return bytes(changed)
    if kind == 1:
        return content[:at]
    length = int(random.integers(1, 64))
    if kind == 2:
        return content[:at] + content[max(at - length, 0) :]
    return content[:at] + bytes([random.choice([0, 255])]) * length + content[at + length :]
