"""Repairs of Keras 2: what `tf.keras.Model` and its layers do wrong for a model of two inputs, each with its reason."""

import functools
import inspect
import json
from typing import Any, Optional

import tensorflow as tf


class KerasModel(tf.keras.Model):
    """`tf.keras.Model` with repaired methods; a subclass defines `get_config` and `from_config`."""

    @property
    def input(self) -> list[tf.Tensor]:
        """Both symbolic inputs of the first symbolic call.

        Raises:
          AttributeError: if there was no symbolic call.
        """
        if not self.inbound_nodes:
            raise AttributeError(f"{self.name} was not called with symbolic inputs, it has no input")
        return list(self.inbound_nodes[0].keras_inputs)

    @property
    def name_scope(self) -> tf.name_scope:
        """Name scope `<name>/`, which `with_name_scope` needs; Keras 2 overrides tf.Module's property by a method."""
        return tf.name_scope(f"{self.name}/")

    @functools.wraps(tf.keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> tf.keras.callbacks.History:  # noqa: D102  (Keras's)
        # shuffle="batch" counts as True: Keras would shuffle ids, times and targets separately, and mix users in a row.
        bound = inspect.signature(tf.keras.Model.fit).bind(self, *args, **kwargs)
        if bound.arguments.get("shuffle") == "batch":
            bound.arguments["shuffle"] = True
        return super().fit(*bound.args[1:], **bound.kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return None: scores belong to documents, not to history slots, and carry no mask."""
        del inputs, mask
        return

    def get_layer(self, name: Optional[str] = None, index: Optional[int] = None) -> tf.keras.layers.Layer:
        """Return a layer by its name or index; the index takes precedence.

        Raises:
          ValueError: if neither is given, or the layer does not exist.
        """
        return super().get_layer(name=name if index is None else None, index=index)

    def to_json(self, **kwargs: Any) -> str:
        """Return the configuration as JSON; `model_from_json` cannot resolve the name that Keras's own method writes.

        Args:
          **kwargs: passed to `json.dumps`.
        """
        document = json.loads(super().to_json())
        document["class_name"] = tf.keras.utils.get_registered_name(type(self))
        return json.dumps(document, **kwargs)

    @functools.wraps(tf.keras.Model.compile)
    def compile(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102  (Keras's)
        # `load_model` restores a SavedModel's optimizer, then compiles with a new one: take over the restored state.
        restored = getattr(self, "optimizer", None)
        super().compile(*args, **kwargs)
        if kwargs.get("from_serialized") and restored is not None:
            _take_over(self.optimizer, restored, self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was compiled; Keras omits this if `compile` is overridden."""
        if type(self).compile is not KerasModel.compile:
            super().compile_from_config(config)
            return
        self.compile(**tf.keras.saving.deserialize_keras_object(config))
        if isinstance(self.optimizer, tf.keras.optimizers.Optimizer) and self.built:
            self.optimizer.build(self.trainable_variables)

    def __reduce__(self) -> Any:
        """Pickle a built model as Keras does, and an unbuilt one, which Keras cannot pickle, as its configuration."""
        return super().__reduce__() if self.built else (type(self).from_config, (self.get_config(),))


@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class Embedding(tf.keras.layers.Embedding):
    """Embedding table with a dense gradient; named as Keras's class because `.weights.h5` files go by class names.

    The gradient of Keras's layer has one slice per looked-up id, which replicas gather by collectives that remember
    their sizes: a second `MirroredStrategy` of a process, with another batch, fails on them.
    """

    def call(self, inputs: Any) -> tf.Tensor:
        """Return rows of the table.

        Args:
          inputs: integer [...], row numbers from 0.

        Returns:
          compute dtype [..., E].
        """
        # The gradient of a reshape is dense. A custom gradient would keep the graph of each trace alive.
        table = tf.reshape(tf.convert_to_tensor(self.embeddings), self.embeddings.shape)
        return tf.cast(tf.gather(table, tf.cast(inputs, tf.int32)), self.compute_dtype)


def build_tables(*tables: tf.keras.layers.Embedding) -> None:
    """Create the weights of embedding layers, named under their layers."""
    for table in tables:
        with tf.name_scope(table.name):
            table.build((None,))


def _take_over(optimizer: Any, restored: Any, variables: list[tf.Variable]) -> None:
    """Copy a restored optimizer's state if class and sizes are the same; legacy optimizers keep a new state."""
    if not isinstance(optimizer, tf.keras.optimizers.Optimizer):
        return
    optimizer.build(variables)
    saved = [value for value in restored.variables if value is not None]
    if [value.shape for value in saved] == [value.shape for value in optimizer.variables]:
        for variable, value in zip(optimizer.variables, saved):
            variable.assign(value)


def is_keras_tensor(value: Any) -> bool:
    """Return whether a value is a symbolic tensor of Keras."""
    return isinstance(value, tf.keras.__internal__.KerasTensor)


def unique_name(class_name: str) -> str:
    """Return a class name for the first instance, with a number from the second on."""
    count = tf.keras.backend.get_uid(class_name)
    return class_name if count == 1 else f"{class_name}_{count - 1}"
