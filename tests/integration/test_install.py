"""`install()` swaps what it says, no more, and `uninstall()` puts all of it back."""

import json
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from keras.src import api_export, losses
from keras.src import metrics as keras_src_metrics

import keras_tally as kt
from support import BACKEND, seed_all

IS_TENSORFLOW = BACKEND == "tensorflow"

# Keras's own classes, by name, as they are before anything is installed.
THEIRS = {
    name: getattr(keras.metrics, name)
    for name in kt.__all__
    if isinstance(getattr(kt, name), type)
    and hasattr(keras.metrics, name)
    and name != "Metric"  # the very same class
}
TABLES = {
    "ALL_OBJECTS_DICT": keras_src_metrics.ALL_OBJECTS_DICT,
    "REGISTERED_NAMES_TO_OBJS": api_export.REGISTERED_NAMES_TO_OBJS,
    "REGISTERED_OBJS_TO_NAMES": api_export.REGISTERED_OBJS_TO_NAMES,
    "keras.metrics": vars(keras.metrics),
    "keras.src.metrics": vars(keras_src_metrics),
    "tf.keras.metrics": vars(keras._tf_keras.keras.metrics),
    "losses": losses.ALL_OBJECTS_DICT,
    "keras.losses": vars(keras.losses),
}
every_class = pytest.mark.parametrize("name", THEIRS)


def tables():
    return {name: list(table.items()) for name, table in TABLES.items()}


@pytest.fixture(autouse=True)
def everything_is_put_back():
    before = tables()
    yield
    kt.uninstall()
    assert tables() == before


@pytest.fixture
def installed():
    with kt.install():
        yield


def run_python(code, *args):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_import_touches_nothing_of_keras():
    """All names of all its modules, and the tables, are compared."""
    changed = run_python("""
import sys
import keras
from keras.src import api_export, losses, metrics

modules = [m for name, m in sys.modules.items() if name.split(".")[0] == "keras" and m]
tables = [metrics.ALL_OBJECTS_DICT, losses.ALL_OBJECTS_DICT, vars(keras.metrics.Metric),
          api_export.REGISTERED_NAMES_TO_OBJS, api_export.REGISTERED_OBJS_TO_NAMES,
          *(vars(cls) for cls in metrics.ALL_OBJECTS), *map(vars, modules)]

def snapshot():
    # Submodules that are imported later become attributes of their package.
    return [{k: v for k, v in table.items() if type(v) is not type(sys)}
            for table in tables]

before = snapshot()
import keras_tally
print([set(b) ^ set(a) or b for b, a in zip(before, snapshot()) if b != a])
""")
    assert changed == "[]\n"


@every_class
def test_what_is_swapped(name, installed):
    ours, theirs = getattr(kt, name), THEIRS[name]
    assert ours is not theirs
    snake = keras.src.utils.naming.to_snake_case(name)
    for key in (name, snake):
        assert keras_src_metrics.ALL_OBJECTS_DICT[key] is ours
    for module in (keras.metrics, keras_src_metrics, keras._tf_keras.keras.metrics):
        assert getattr(module, name) is ours
    assert api_export.get_symbol_from_name(f"keras.metrics.{name}") is ours
    assert api_export.get_name_from_symbol(ours) == f"keras.metrics.{name}"
    assert api_export.get_name_from_symbol(theirs) == f"keras.metrics.{name}"


# Each way in which a script reaches a class of Keras's, as an expression after its
# imports. `keras.api` is none: Keras 3.15 has no such module.
SPELLINGS = {
    "import keras": "keras.metrics.AUC",
    "import keras.metrics": "keras.metrics.AUC",
    "import keras.metrics as m": "m.AUC",
    "from keras import metrics": "metrics.AUC",
    "from keras.metrics import AUC": "AUC",
    "from keras.metrics import *": "AUC",
    "from keras.src.metrics import AUC": "AUC",
    "from keras.src import metrics": "metrics.AUC",
    "from keras._tf_keras import keras": "keras.metrics.AUC",
    "from keras._tf_keras.keras.metrics import AUC": "AUC",
    "import keras ": "type(keras.metrics.get('AUC'))",
    "import keras  ": "type(keras.metrics.get('auc'))",
    "import keras   ": "type(keras.metrics.deserialize("
    "{'class_name': 'AUC', 'config': {}}))",
    "from keras.saving import deserialize_keras_object as d": "type(d("
    "{'module': 'keras.metrics', 'class_name': 'AUC', 'config': {}}))",
    "from keras.src.api_export import get_symbol_from_name as g": "g("
    "'keras.metrics.AUC')",
}
TENSORFLOW_SPELLINGS = {
    "import tensorflow as tf": "tf.keras.metrics.AUC",
    "import tensorflow as tf ": "tf.compat.v2.keras.metrics.AUC",
    "from tensorflow import keras": "keras.metrics.AUC",
    "from tensorflow import keras ": "type(keras.metrics.get('AUC'))",
    "from tensorflow.keras.metrics import AUC": "AUC",
    "from tensorflow.keras import metrics": "metrics.AUC",
    "import tensorflow.keras as k": "k.metrics.AUC",
    "import tensorflow.keras.metrics as m": "m.AUC",
    # The import before has loaded Keras's files a second time.
    "import tensorflow as tf  ": "tf.keras.metrics.AUC",
}
REACH = """
import json, sys
spellings = json.loads(sys.argv[1])

def reach(statement, expression):
    names = {}
    exec(statement.strip(), names)
    return eval(expression, names)

def places():
    return {spelling: reach(*spelling) for spelling in map(tuple, spellings)}

import keras, keras_tally as kt
theirs = keras.metrics.AUC
before = places() if sys.argv[2] == "imported before" else {}
assert set(before.values()) <= {theirs} or "tensorflow" in sys.modules
for _ in range(2):
    with kt.install():
        wrong = [s for s, cls in places().items() if cls is not kt.AUC]
    wrong += [s for s, cls in places().items() if cls is kt.AUC]
waiting = [f for f in sys.meta_path if "metrics" in getattr(f, "_name", "")]
assert not waiting, waiting
print(json.dumps(wrong))
"""


@pytest.mark.parametrize(
    "when", [pytest.param("imported before", marks=pytest.mark.slow), "imported after"]
)
def test_every_spelling(when):
    spellings = {**SPELLINGS, **(TENSORFLOW_SPELLINGS if IS_TENSORFLOW else {})}
    wrong = run_python(REACH, json.dumps(list(spellings.items())), when)
    assert json.loads(wrong.splitlines()[-1]) == []


def test_nothing_else_is_swapped():
    before = tables()
    with kt.install():
        for table, items in tables().items():
            kept = dict(before[table])
            for key, value in items:
                if key in kept and value is not kept[key]:
                    assert value is getattr(kt, kept[key].__name__), (table, key)
            added = [key for key, _ in items if key not in kept]
            if table == "REGISTERED_OBJS_TO_NAMES":
                assert set(added) == {getattr(kt, name) for name in THEIRS}
            else:
                assert not added
        assert keras.metrics.Metric is keras_src_metrics.Metric
        assert issubclass(kt.AUC, keras.metrics.Metric)
        assert kt.Huber not in api_export.REGISTERED_OBJS_TO_NAMES


def test_repeated_calls_and_nested_blocks():
    before = tables()
    kt.uninstall()
    assert tables() == before
    kt.install()
    during = tables()
    kt.install()
    assert tables() == during
    kt.uninstall()
    assert tables() == before
    with kt.install():
        with kt.install():
            assert tables() == during
        assert tables() == during
    assert tables() == before
    kt.install()
    with kt.install():
        assert tables() == during
    assert tables() == during
    with pytest.raises(ZeroDivisionError), kt.install():
        raise ZeroDivisionError
    assert tables() == during
    kt.uninstall()
    with pytest.raises(ZeroDivisionError), kt.install():
        raise ZeroDivisionError
    assert tables() == before


def test_changes_of_others_are_kept():
    class Other(THEIRS["AUC"]):
        """Somebody else's replacement."""

    kt.install()
    keras.metrics.AUC = Other
    kt.uninstall()
    try:
        assert keras.metrics.AUC is Other
    finally:
        keras.metrics.AUC = THEIRS["AUC"]


def test_calls_from_many_threads():
    def work():
        for _ in range(5):
            kt.install()
            kt.uninstall()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("mse", "MeanSquaredError"),
        ("MSE", "MeanSquaredError"),
        ("mae", "MeanAbsoluteError"),
        ("bce", "BinaryCrossentropy"),
        ("BCE", "BinaryCrossentropy"),
        ("auc", "AUC"),
        ("AUC", "AUC"),
        ("mean_squared_error", "MeanSquaredError"),
        ("binary_accuracy", "BinaryAccuracy"),
    ],
)
def test_identifiers(identifier, name, installed):
    assert type(keras.metrics.get(identifier)) is getattr(kt, name)
    config = {"class_name": name, "config": {"name": "n"}}
    assert type(keras.metrics.get(config)) is getattr(kt, name)
    assert type(keras.metrics.deserialize(config)) is getattr(kt, name)


def test_functions_stay_what_they_are(installed):
    loss = keras.losses.mean_squared_error
    assert keras.metrics.mean_squared_error is loss
    assert keras.losses.get("mean_squared_error") is loss
    assert keras.losses.get("mse") is loss
    config = keras.saving.serialize_keras_object(loss)
    assert keras.saving.deserialize_keras_object(config) is loss


@every_class
def test_a_name_imported_before_stays(name):
    theirs = THEIRS[name]
    with kt.install():
        if name != "MeanMetricWrapper" and not needs_arguments(theirs):
            metric = theirs()
            assert type(metric) is theirs
            config = keras.saving.serialize_keras_object(metric)
            again = keras.saving.deserialize_keras_object(config)
            assert type(again) is getattr(kt, name)


def needs_arguments(cls):
    try:
        cls()
    except TypeError:
        return True
    return False


def test_saved_under_keras_names_while_installed():
    metric = kt.AUC(num_thresholds=7, name="area")
    assert keras.saving.serialize_keras_object(metric)["registered_name"] == (
        "keras_tally>AUC"
    )
    with kt.install():
        config = keras.saving.serialize_keras_object(metric)
        huber = keras.saving.serialize_keras_object(kt.Huber())
        assert type(keras.saving.deserialize_keras_object(config)) is kt.AUC
    assert config["module"] == "keras.metrics"
    assert config["class_name"] == "AUC"
    assert config["registered_name"] is None
    assert huber["registered_name"] == "keras_tally>Huber"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is THEIRS["AUC"]
    assert again.num_thresholds == 7


ROWS, FEATURES = 40, 3


def data(units):
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(ROWS, FEATURES)))
    y = rng.integers(0, 2, (ROWS, units))
    return x, y.astype(np.float32)


def small_model(units, activation, **options):
    seed_all(1)
    model = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(units, activation=activation)]
    )
    model.compile("sgd", **options)
    return model


def compiled_metrics(model):
    (compiled,) = [m for m in model.metrics if m.name == "compile_metrics"]
    return {m.name: type(m) for m in compiled.metrics}


@pytest.mark.torch_only
@pytest.mark.parametrize("word", ["accuracy", "acc"])
@pytest.mark.parametrize(
    ("units", "loss", "sparse", "name"),
    [
        (1, "binary_crossentropy", False, "BinaryAccuracy"),
        (4, "categorical_crossentropy", False, "CategoricalAccuracy"),
        (4, "sparse_categorical_crossentropy", True, "SparseCategoricalAccuracy"),
    ],
)
def test_accuracy_in_compile(word, units, loss, sparse, name):
    x, y = data(1)
    if units > 1:
        y = np.arange(ROWS) % units if sparse else np.eye(units)[np.arange(ROWS) % 4]
    logs = []
    for ours in (False, True):
        model = small_model(
            units, "sigmoid" if units == 1 else "softmax", loss=loss, metrics=[word]
        )
        if ours:
            with kt.install():
                logs.append(model.evaluate(x, y, verbose=0, return_dict=True))
        else:
            logs.append(model.evaluate(x, y, verbose=0, return_dict=True))
        kinds = compiled_metrics(model)
        assert kinds[word] is (getattr(kt, name) if ours else THEIRS[name])
    assert logs[0].keys() == logs[1].keys()
    for key, value in logs[0].items():
        assert logs[1][key] == pytest.approx(value, rel=1e-5)


@pytest.mark.torch_only
def test_strings_and_functions_in_fit():
    x, y = data(1)
    metrics = ["accuracy", "AUC", "auc", "mse", "bce", "Precision",
               keras.losses.mean_absolute_error]  # fmt: skip
    theirs = small_model(1, "sigmoid", loss="mse", metrics=metrics)
    expected = theirs.fit(x, y, epochs=2, verbose=0, batch_size=16).history
    with kt.install():
        model = small_model(1, "sigmoid", loss="mse", metrics=metrics)
        history = model.fit(x, y, epochs=2, verbose=0, batch_size=16).history
    kinds = compiled_metrics(model)
    assert {kind.__module__.split(".")[0] for kind in kinds.values()} == {"keras_tally"}
    assert type(model._loss_tracker) is kt.Mean
    assert history.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=2e-5, err_msg=key)


METRICS = {
    "area": ("AUC", {"num_thresholds": 33, "curve": "PR"}),
    "precise": ("Precision", {"thresholds": [0.25, 0.75]}),
    "right": ("BinaryAccuracy", {"threshold": 0.4}),
    "hits": ("TruePositives", {}),
}


@pytest.mark.slow
@pytest.mark.torch_only
@pytest.mark.parametrize("extension", ["keras", "h5"])
def test_old_models_load_with_our_metrics(extension, tmp_path):
    x, y = data(1)
    metrics = [getattr(keras.metrics, c)(name=n, **k) for n, (c, k) in METRICS.items()]
    # Keras itself cannot load a loss given as "mse" from an HDF5 file.
    loss = keras.losses.MeanSquaredError()
    model = small_model(1, "sigmoid", loss=loss, metrics=metrics)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    path = tmp_path / f"old.{extension}"
    model.save(path)
    with kt.install():
        again = keras.saving.load_model(path)
        logs = again.evaluate(x, y, verbose=0, return_dict=True)
    kinds = compiled_metrics(again)
    assert kinds == {n: getattr(kt, c) for n, (c, _) in METRICS.items()}
    for key, value in expected.items():
        np.testing.assert_allclose(logs[key], value, rtol=2e-5, err_msg=key)


LOAD = """
import sys
sys.modules["keras_tally"] = None  # as if it were not installed
import json
import keras
import numpy as np
path, how = sys.argv[1:]
options = {
    "plain": {},
    "uncompiled": {"compile": False},
    "named": {"custom_objects": {"keras_tally>AUC": keras.metrics.AUC,
                                 "keras_tally>Precision": keras.metrics.Precision}},
}[how]
try:
    model = keras.saving.load_model(path, **options)
except TypeError as error:
    print(json.dumps(str(error)))
    raise SystemExit
x = np.float32(np.linspace(-1, 1, 60).reshape(20, 3))
y = np.float32(np.arange(20) % 2)[:, None]
if how == "uncompiled":
    print(json.dumps(model.predict(x, verbose=0).tolist()))
else:
    print(json.dumps(model.evaluate(x, y, verbose=0, return_dict=True)))
"""


def load_without_us(path, how):
    return json.loads(run_python(LOAD, path, how).splitlines()[-1])


@pytest.mark.slow
@pytest.mark.torch_only
def test_files_load_without_the_package(tmp_path):
    x = np.float32(np.linspace(-1, 1, 60).reshape(20, 3))
    y = np.float32(np.arange(20) % 2)[:, None]
    metrics = [kt.AUC(num_thresholds=9, name="area"), kt.Precision(name="precise")]
    model = small_model(1, "sigmoid", loss="mse", metrics=metrics)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    installed, plain = tmp_path / "installed.keras", tmp_path / "plain.keras"
    model.save(plain)
    with kt.install():
        model.save(installed)
    for path, how in ((installed, "plain"), (plain, "named")):
        logs = load_without_us(path, how)
        assert logs.keys() == expected.keys()
        for key, value in expected.items():
            assert logs[key] == pytest.approx(value, rel=1e-5), (path, key)
    assert "AUC" in load_without_us(plain, "plain")
    predictions = load_without_us(plain, "uncompiled")
    np.testing.assert_allclose(predictions, model.predict(x, verbose=0), rtol=1e-5)
