"""The metrics in trainers: a plain torch loop, Lightning, and TensorBoard's files."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn import metrics as sk

import keras_tally as kt
from support import seed_all, torch_only

ROOT = Path(__file__).resolve().parents[2]
pytestmark = torch_only


def data(count=96):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 4)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def make_model(metrics):
    seed_all(1)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("sgd", "binary_crossentropy", metrics=metrics)
    return model


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def curve_at(folder, tag, step):
    from tensorboard.util.tensor_util import make_ndarray

    (event,) = [e for e in events(folder).Tensors(tag) if e.step == step]
    return make_ndarray(event.tensor_proto)


@pytest.mark.parametrize("grouped", [False, True])
def test_tensorboard_has_scalars_and_curves(tmp_path, grouped):
    x, y = data()
    auc = kt.AUC(name="auc", num_thresholds=65)
    metrics = [kt.BinaryAccuracy(), auc]
    model = make_model([kt.MetricGroup(metrics)] if grouped else metrics)
    board = kt.callbacks.TensorBoardMetrics(tmp_path)
    history = model.fit(
        x[:64],
        y[:64],
        validation_data=(x[64:], y[64:]),
        epochs=2,
        batch_size=16,
        verbose=0,
        callbacks=[board],
    ).history
    for part, prefix in (("train", ""), ("validation", "val_")):
        found = events(tmp_path / part)
        for name in ("loss", "binary_accuracy", "auc"):
            values = [e.value for e in found.Scalars(f"epoch_{name}")]
            np.testing.assert_allclose(values, history[prefix + name], rtol=1e-6)
    # The last validation's curve is that of the trained model.
    tp, fp, tn, fn, precision, recall = curve_at(tmp_path / "validation", "auc", 1)
    scores = model.predict(x[64:], verbose=0)
    thresholds = np.array(auc.thresholds)
    assert len(tp) == len(thresholds)
    for i, threshold in enumerate(thresholds):
        matrix = sk.confusion_matrix(y[64:], scores > threshold, labels=[0, 1])
        assert [tn[i], fp[i], fn[i], tp[i]] == matrix.ravel().tolist()
    np.testing.assert_allclose(recall, tp / (tp + fn))
    some = tp > 0
    np.testing.assert_allclose(precision[some], tp[some] / (tp + fp)[some])
    # The training's counts are of all its 64 samples, not of the validation's 32.
    assert curve_at(tmp_path / "train", "auc", 0)[:4, 0].sum() == 64


def test_long_curves_are_cut_to_what_the_format_knows(tmp_path):
    x, y = data(32)
    model = make_model([kt.AUC(name="auc", num_thresholds=500)])
    board = kt.callbacks.TensorBoardMetrics(tmp_path)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[board])
    curve = curve_at(tmp_path / "train", "auc", 0)
    assert curve.shape == (6, 127)
    assert curve[3, 0] == 0.0  # both ends are there: nothing missed, nothing found
    assert curve[0, -1] == 0.0
    assert not (tmp_path / "validation").exists()


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "KERAS_BACKEND": "torch", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FIT = """
import sys
sys.modules["{missing}"] = None
import keras, numpy as np, keras_tally as kt
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(loss="mse", metrics=[kt.MeanAbsoluteError()])
board = kt.callbacks.TensorBoardMetrics({folder!r})
try:
    model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0, callbacks=[board])
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
def test_tensorboard_needs_no_tensorflow(tmp_path):
    run(FIT.format(missing="tensorflow", folder=str(tmp_path)))
    assert list((tmp_path / "train").glob("events.*"))


@pytest.mark.slow
def test_tensorboard_itself_is_asked_for(tmp_path):
    said = run(FIT.format(missing="tensorboard", folder=str(tmp_path)))
    assert "pip install torch tensorboard" in said


def test_the_guide_has_every_trainer():
    """Its snippets are run with those of the other pages."""
    guide = (ROOT / "docs" / "torch.md").read_text()
    shown = "".join(guide.split("```")[1::2])
    for name in ("lightning.Trainer", "torch.compile", "model.fit", "torch.export"):
        assert name in shown
