"""Table of the Keras layers that a saved architecture may contain, with readers of their arguments."""

from typing import Any

import tensorflow as tf

from recsys_po_rl.scoring.keras_parts import (
    Reader,
    activation,
    boolean,
    choice,
    constraint,
    dot_axes,
    dtype,
    false,
    initializer,
    integer,
    integers,
    name,
    number,
    optional_number,
    regularizer,
    seed,
    shape,
)

COMMON: dict[str, Reader] = {"name": name, "trainable": boolean, "dtype": dtype, "batch_input_shape": shape}
_DATA_FORMAT = choice("channels_last", "channels_first", None)


def _weights(*names: str) -> dict[str, Reader]:
    """Return readers of the initializer, regularizer and constraint of each weight."""
    kinds = {"initializer": initializer, "regularizer": regularizer, "constraint": constraint}
    return {f"{weight}_{kind}": reader for weight in names for kind, reader in kinds.items()}


_DENSE = {"use_bias": boolean, "activity_regularizer": regularizer, **_weights("kernel", "bias")}
_RECURRENT: dict[str, Reader] = {
    "units": integer,
    "activation": activation,
    "use_bias": boolean,
    "dropout": number,
    "recurrent_dropout": number,
    "return_sequences": boolean,
    "return_state": boolean,
    "go_backwards": boolean,
    "stateful": false,
    "unroll": false,  # would unroll a loop whose number of steps the file sets
    "time_major": boolean,
    "activity_regularizer": regularizer,
    **_weights("kernel", "recurrent", "bias"),
}
_GATED: dict[str, Reader] = {**_RECURRENT, "recurrent_activation": activation, "implementation": choice(1, 2)}
_NORMALIZATION: dict[str, Reader] = {
    "axis": integers,
    "epsilon": number,
    "center": boolean,
    "scale": boolean,
    **_weights("beta", "gamma"),
}
_POOLING: dict[str, Reader] = {
    "pool_size": integers,
    "strides": integers,
    "padding": choice("valid", "same"),
    "data_format": _DATA_FORMAT,
}
_GLOBAL_POOLING: dict[str, Reader] = {"data_format": _DATA_FORMAT, "keepdims": boolean}
_DROPOUT: dict[str, Reader] = {"rate": number, "noise_shape": integers, "seed": seed}
_layers = tf.keras.layers
EMBEDDING: dict[str, Reader] = {
    "input_dim": integer,
    "output_dim": integer,
    "mask_zero": boolean,
    "input_length": integers,
    "activity_regularizer": regularizer,
    **_weights("embeddings"),
}
# `Lambda`, TensorFlow operation layers and layers that read vocabularies are excluded on purpose.
LAYERS: dict[str, tuple[Any, dict[str, Reader]]] = {
    "InputLayer": (_layers.InputLayer, {"sparse": false, "ragged": false, "optional": false}),
    "Dense": (_layers.Dense, {"units": integer, "activation": activation, **_DENSE}),
    "Embedding": (_layers.Embedding, EMBEDDING),
    "Activation": (_layers.Activation, {"activation": activation}),
    "LeakyReLU": (_layers.LeakyReLU, {"alpha": number}),
    "PReLU": (_layers.PReLU, {"shared_axes": integers, **_weights("alpha")}),
    "ELU": (_layers.ELU, {"alpha": number}),
    "ReLU": (_layers.ReLU, {"max_value": optional_number, "negative_slope": number, "threshold": number}),
    "ThresholdedReLU": (_layers.ThresholdedReLU, {"theta": number}),
    "Softmax": (_layers.Softmax, {"axis": integers}),
    "Dropout": (_layers.Dropout, _DROPOUT),
    "SpatialDropout1D": (_layers.SpatialDropout1D, _DROPOUT),
    "GaussianNoise": (_layers.GaussianNoise, {"stddev": number, "seed": seed}),
    "GaussianDropout": (_layers.GaussianDropout, {"rate": number, "seed": seed}),
    "AlphaDropout": (_layers.AlphaDropout, _DROPOUT),
    "LayerNormalization": (_layers.LayerNormalization, _NORMALIZATION),
    "BatchNormalization": (
        _layers.BatchNormalization,
        {
            **_NORMALIZATION,
            "momentum": number,
            "moving_mean_initializer": initializer,
            "moving_variance_initializer": initializer,
        },
    ),
    "GroupNormalization": (_layers.GroupNormalization, {"groups": integer, **_NORMALIZATION}),
    "UnitNormalization": (_layers.UnitNormalization, {"axis": integers}),
    "Concatenate": (_layers.Concatenate, {"axis": integer}),
    "Add": (_layers.Add, {}),
    "Subtract": (_layers.Subtract, {}),
    "Multiply": (_layers.Multiply, {}),
    "Average": (_layers.Average, {}),
    "Maximum": (_layers.Maximum, {}),
    "Minimum": (_layers.Minimum, {}),
    "Dot": (_layers.Dot, {"axes": dot_axes, "normalize": boolean}),
    "Flatten": (_layers.Flatten, {"data_format": _DATA_FORMAT}),
    "Reshape": (_layers.Reshape, {"target_shape": integers}),
    "Permute": (_layers.Permute, {"dims": integers}),
    "RepeatVector": (_layers.RepeatVector, {"n": integer}),
    "Masking": (_layers.Masking, {"mask_value": number}),
    "UpSampling1D": (_layers.UpSampling1D, {"size": integer}),
    "GlobalAveragePooling1D": (_layers.GlobalAveragePooling1D, _GLOBAL_POOLING),
    "GlobalMaxPooling1D": (_layers.GlobalMaxPooling1D, _GLOBAL_POOLING),
    "AveragePooling1D": (_layers.AveragePooling1D, _POOLING),
    "MaxPooling1D": (_layers.MaxPooling1D, _POOLING),
    "SimpleRNN": (_layers.SimpleRNN, _RECURRENT),
    "GRU": (_layers.GRU, {**_GATED, "reset_after": boolean}),
    "LSTM": (_layers.LSTM, {**_GATED, "unit_forget_bias": boolean}),
    "Conv1D": (
        _layers.Conv1D,
        {
            "filters": integer,
            "kernel_size": integers,
            "strides": integers,
            "padding": choice("valid", "same", "causal"),
            "data_format": _DATA_FORMAT,
            "dilation_rate": integers,
            "groups": integer,
            "activation": activation,
            **_DENSE,
        },
    ),
    "Attention": (
        _layers.Attention,
        {"use_scale": boolean, "score_mode": choice("dot", "concat"), "dropout": number},
    ),
    "AdditiveAttention": (_layers.AdditiveAttention, {"use_scale": boolean, "dropout": number}),
    "MultiHeadAttention": (
        _layers.MultiHeadAttention,
        {
            "num_heads": integer,
            "key_dim": integer,
            "value_dim": integers,
            "dropout": number,
            "output_shape": integers,
            "attention_axes": integers,
            "softmax_robust_masking": boolean,
            **_DENSE,
        },
    ),
    "Rescaling": (_layers.Rescaling, {"scale": number, "offset": number}),
    "CategoryEncoding": (
        _layers.CategoryEncoding,
        {"num_tokens": integer, "output_mode": choice("multi_hot", "one_hot", "count"), "sparse": false},
    ),
}
