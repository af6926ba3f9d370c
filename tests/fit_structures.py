"""Fits of models with every structure of outputs, metrics and targets, and their logs.

    python tests/fit_structures.py [few]

prints, as JSON, the logs of each fit three times: before keras_tally is imported, with
it imported and unused, and with one of its metrics. What Keras refuses, has an error
for logs. All combinations, or with "few" some that Keras accepts.
"""

import itertools
import json
import sys
import warnings

import keras
import numpy as np

SAMPLES, BATCH = 12, 4
random = np.random.default_rng(0)
X = random.normal(size=(SAMPLES, 3)).astype("float32")
Y = [random.normal(size=(SAMPLES, 1)).astype("float32") for _ in range(3)]

# How outputs, and their targets, are put together; three are made, and two taken but
# where they are nested.
STRUCTURES = {
    "list": lambda a, b, c: [a, b],
    "tuple": lambda a, b, c: (a, b),
    "dict": lambda a, b, c: {"p": a, "q": b},
    "nested": lambda a, b, c: {"x": [a, b], "y": c},
}
METRICS = {
    "list": lambda mae: [mae, "mse"],
    "dict": lambda mae: {"p": mae, "q": ["mse", "mae"]},
    "lists": lambda mae: [[mae], ["mse", "mae"]],
    "nested": lambda mae: {"x": [[mae], ["mse"]], "y": ["mae"]},
}
LOSSES = {
    "list": ["mse", "mae"],
    "none": [None, "mae"],
    "dict": {"p": "mse", "q": "mae"},
    "nested": {"x": ["mse", "mae"], "y": "mse"},
}


def from_arrays(targets):
    return {"x": X, "y": targets, "batch_size": BATCH}


def from_tf_data(targets):
    import tensorflow as tf

    # tf.data takes a list for an array.
    if isinstance(targets, list):
        targets = tuple(targets)
    data = tf.data.Dataset.from_tensor_slices((X, targets))
    return {"x": data.batch(BATCH)}


def from_data_loader(targets):
    import torch

    samples = [
        (X[i], keras.tree.map_structure(lambda a, i=i: a[i], targets))
        for i in range(SAMPLES)
    ]
    return {"x": torch.utils.data.DataLoader(samples, batch_size=BATCH)}


SOURCES = {"arrays": from_arrays, "tf.data": from_tf_data, "loader": from_data_loader}


def fit(outputs, metrics, loss, source, mae):
    """Return the logs of a fit, or the error in their place."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    heads = [keras.layers.Dense(1, name=name)(inputs) for name in ("p", "q", "r")]
    structure = STRUCTURES[outputs]
    targets = structure(*Y)
    if source == "tf.data" and outputs == "nested":
        targets = {"x": tuple(targets["x"]), "y": targets["y"]}
    try:
        model = keras.Model(inputs, structure(*heads))
        model.compile("sgd", loss=LOSSES[loss], metrics=METRICS[metrics](mae()))
        history = model.fit(
            **SOURCES[source](targets), epochs=1, shuffle=False, verbose=0
        )
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return {
        name: [float(v) for v in values] for name, values in history.history.items()
    }


# Structures that fit together: each of them is here, and each source.
FEW = [
    ("list", "lists", "none", "arrays"),
    ("list", "dict", "list", "loader"),
    ("tuple", "list", "dict", "tf.data"),
    ("tuple", "lists", "none", "arrays"),
    ("dict", "dict", "dict", "tf.data"),
    ("dict", "lists", "none", "loader"),
    ("nested", "nested", "nested", "arrays"),
]


def main():
    warnings.simplefilter("ignore")
    every = itertools.product(STRUCTURES, METRICS, LOSSES, SOURCES)
    chosen = FEW if "few" in sys.argv[1:] else list(every)
    theirs = lambda: "mae"  # noqa: E731
    found = {"/".join(each): [fit(*each, theirs)] for each in chosen}
    assert "keras_tally" not in sys.modules
    import keras_tally as kt

    kt.Mean()
    for each in chosen:
        found["/".join(each)].append(fit(*each, theirs))
    for each in chosen:
        ours = fit(*each, lambda: kt.MeanAbsoluteError(name="mae"))
        found["/".join(each)].append(ours)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
