"""Two small models on real data, judged by keras-tally's metrics and Keras's own side
by side: what `make demo` runs.

    KERAS_BACKEND=torch python examples/demo.py [folder for the pictures]

Trains a classifier of handwritten digits (10 classes) and one of breast tumours
(binary), on the data that ships with scikit-learn. Every metric is there twice, once
from keras-tally and once from Keras, so both see the same batches. Prints one table of
values and times, and writes learning curves and the ROC curve as PNG files.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import matplotlib
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import roc_curve
from sklearn.model_selection import train_test_split

import keras_tally as kt

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
TOLERANCE = 1e-5

MULTICLASS: dict[str, Callable[..., Any]] = {
    "SparseCategoricalAccuracy": lambda m, name: m.SparseCategoricalAccuracy(name=name),
    "SparseTopKCategoricalAccuracy(k=3)": lambda m, name: (
        m.SparseTopKCategoricalAccuracy(k=3, name=name)
    ),
    "SparseCategoricalCrossentropy": lambda m, name: m.SparseCategoricalCrossentropy(
        name=name
    ),
}
BINARY: dict[str, Callable[..., Any]] = {
    "BinaryAccuracy": lambda m, name: m.BinaryAccuracy(name=name),
    "Precision": lambda m, name: m.Precision(name=name),
    "Recall": lambda m, name: m.Recall(name=name),
    "TruePositives": lambda m, name: m.TruePositives(name=name),
    "FalseNegatives": lambda m, name: m.FalseNegatives(name=name),
    "AUC (ROC)": lambda m, name: m.AUC(name=name),
    "AUC (PR)": lambda m, name: m.AUC(curve="PR", name=name),
    "BinaryCrossentropy": lambda m, name: m.BinaryCrossentropy(name=name),
    "MeanSquaredError": lambda m, name: m.MeanSquaredError(name=name),
    "RootMeanSquaredError": lambda m, name: m.RootMeanSquaredError(name=name),
    "MeanAbsoluteError": lambda m, name: m.MeanAbsoluteError(name=name),
}


class Progress(keras.callbacks.Callback):
    """One line that follows the training; a new line every few epochs where the
    output is not a terminal.
    """

    def __init__(self, title: str, show: str, epochs: int) -> None:
        super().__init__()
        self.title, self.show, self.epochs = title, show, epochs
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        last = epoch + 1 == self.epochs
        if not (sys.stdout.isatty() or last or (epoch + 1) % 5 == 0):
            return
        text = (
            f"  {self.title}: epoch {epoch + 1}/{self.epochs}  loss "
            f"{logs['loss']:.4f}  "
            f"{self.show} {logs['kt_' + self.show]:.4f} (validation "
            f"{logs['val_kt_' + self.show]:.4f})  "
            f"{time.perf_counter() - self.start:.1f} s"
        )
        end = "\n" if last or not sys.stdout.isatty() else "\r"
        print(text, end=end, flush=True)


def slug(label: str) -> str:
    """A name for Keras's logs: 'BinaryAccuracy' becomes 'binary_accuracy'."""
    label = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", label)
    return (
        "".join(c if c.isalnum() else "_" for c in label.lower())
        .strip("_")
        .replace("__", "_")
    )


def train(
    title: str,
    layers: list[Any],
    loss: str,
    metrics: dict[str, Callable[..., Any]],
    show: str,
    epochs: int,
    data: Any,
):
    """Train and evaluate one model compiled with both sets of metrics; its history,
    its test values, its predictions.
    """
    x_train, x_test, y_train, y_test = data
    both = [
        make(module, f"{prefix}_{slug(label)}")
        for label, make in metrics.items()
        for prefix, module in (("kt", kt), ("keras", keras.metrics))
    ]
    model = keras.Sequential([keras.layers.Input(x_train.shape[1:]), *layers])
    model.compile(optimizer="adam", loss=loss, metrics=both)
    print(
        f"{title}: {len(x_train)} rows to train on, {len(x_test)} to test on, "
        f"{model.count_params()} parameters",
        flush=True,
    )
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        validation_data=(x_test, y_test),
        callbacks=[Progress(title, slug(show), epochs)],
    )
    values = model.evaluate(
        x_test, y_test, batch_size=BATCH, verbose=0, return_dict=True
    )
    return history.history, values, model.predict(x_test, verbose=0)


def microseconds(call: Callable[..., object], *args: Any) -> float:
    """Median time of one call."""
    samples = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(10):
            call(*args)
        samples.append((time.perf_counter() - start) / 10)
    return statistics.median(samples) * 1e6


def rows(
    metrics: dict[str, Callable[..., Any]], values: dict[str, float], y: Any, p: Any
) -> list[tuple[Any, ...]]:
    """Table rows: values after the evaluation, and the times of a batch of 32."""
    batch = (torch.as_tensor(y[:BATCH]), torch.as_tensor(p[:BATCH]))
    found = []
    for label, make in metrics.items():
        theirs, ours = make(keras.metrics, "a"), make(kt, "b")
        times = [microseconds(m.update_state, *batch) for m in (theirs, ours)]
        times += [microseconds(m.result) for m in (theirs, ours)]
        found.append(
            (label, values[f"keras_{slug(label)}"], values[f"kt_{slug(label)}"], *times)
        )
    return found


def print_table(found: list[tuple[Any, ...]]) -> float:
    """Print the table; returns the largest difference, relative to values above 1."""
    worst = 0.0
    print()
    print(
        f"{'':36}{'value on the test data':^34}   {'update_state, us':^25}   "
        f"{'result, us':^25}"
    )
    head = f"{'metric':36}{'Keras':>12}{'keras-tally':>12}{'difference':>12}"
    print(head + f"  {'Keras':>9}{'ours':>8}{'ratio':>8}" * 2)
    print("-" * 124)
    for label, theirs, ours, *t in found:
        worst = max(worst, abs(ours - theirs) / max(1.0, abs(theirs)))
        line = f"{label:36}{theirs:>12.6f}{ours:>12.6f}{ours - theirs:>12.1e}"
        for a, b in ((t[0], t[1]), (t[2], t[3])):
            line += f"  {a:>9.1f}{b:>8.2f}{f'{a / b:.0f}x':>8}"
        print(line)
    print()
    return worst


def learning_curves(
    path: Path, title: str, history: dict[str, list[float]], shown: list[str]
) -> None:
    """Loss on the left, metrics on the right; ours as lines, Keras's as dots that
    should lie on them.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), constrained_layout=True
    )
    epochs = range(1, len(history["loss"]) + 1)
    left.plot(epochs, history["loss"], label="training")
    left.plot(epochs, history["val_loss"], label="validation")
    left.set(title=f"{title}: loss", xlabel="epoch", ylabel="loss")
    left.legend()
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    for i, label in enumerate(shown):
        name = slug(label)
        right.plot(epochs, history[f"val_kt_{name}"], color=f"C{i}", label=label)
        right.plot(
            epochs, history[f"val_keras_{name}"], ".", color=f"C{i}", markersize=4
        )
    right.set(
        title="validation metrics (lines: keras-tally, dots: Keras)", xlabel="epoch"
    )
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def roc(path: Path, y: Any, p: Any) -> None:
    """The ROC curve from our AUC metric's state, over the exact one."""
    auc = kt.AUC()
    auc.update_state(y, p)
    tp, fp, tn, fn = (
        keras.ops.convert_to_numpy(v)
        for v in (
            auc.true_positives,
            auc.false_positives,
            auc.true_negatives,
            auc.false_negatives,
        )
    )
    exact_fpr, exact_tpr, _ = roc_curve(y.ravel(), p.ravel())
    figure, axis = plt.subplots(figsize=(5.2, 5), constrained_layout=True)
    axis.plot(
        exact_fpr, exact_tpr, color="0.7", linewidth=4, label="exact (scikit-learn)"
    )
    axis.plot(
        fp / (fp + tn),
        tp / (tp + fn),
        label=f"keras-tally, 200 thresholds: {float(auc.result()):.4f}",
    )
    axis.plot([0, 1], [0, 1], ":", color="0.6")
    axis.set(
        title="Breast cancer, test data: ROC curve",
        xlabel="false positive rate",
        ylabel="true positive rate",
    )
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "demo"
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    torch.set_num_threads(
        1
    )  # batches of 32 gain nothing from more, and the times below are one thread's
    dense, dropout = keras.layers.Dense, keras.layers.Dropout

    digits = load_digits()
    x = (digits.data / 16).astype("float32")
    digits_data = train_test_split(
        x, digits.target, test_size=0.3, random_state=0, stratify=digits.target
    )
    digits_history, digits_values, digits_predictions = train(
        "digits",
        [dense(64, activation="relu"), dropout(0.2), dense(10, activation="softmax")],
        "sparse_categorical_crossentropy",
        MULTICLASS,
        "SparseCategoricalAccuracy",
        20,
        digits_data,
    )

    cancer = load_breast_cancer()
    x_train, x_test, y_train, y_test = train_test_split(
        cancer.data,
        cancer.target.astype("float32")[:, None],
        test_size=0.3,
        random_state=0,
        stratify=cancer.target,
    )
    mean, deviation = x_train.mean(0), x_train.std(0)
    x_train, x_test = (
        ((x - mean) / deviation).astype("float32") for x in (x_train, x_test)
    )
    cancer_history, cancer_values, cancer_predictions = train(
        "breast cancer",
        [dense(16, activation="relu"), dense(1, activation="sigmoid")],
        "binary_crossentropy",
        BINARY,
        "AUC (ROC)",
        20,
        (x_train, x_test, y_train, y_test),
    )

    print("timing updates and results at batch 32 ...", flush=True)
    found = rows(MULTICLASS, digits_values, digits_data[3], digits_predictions)
    found += rows(BINARY, cancer_values, y_test, cancer_predictions)
    worst = print_table(found)

    learning_curves(out / "digits.png", "digits", digits_history, list(MULTICLASS)[:2])
    learning_curves(
        out / "breast_cancer.png",
        "breast cancer",
        cancer_history,
        ["BinaryAccuracy", "Precision", "Recall", "AUC (ROC)"],
    )
    roc(out / "roc.png", y_test, cancer_predictions)
    for name in ("digits.png", "breast_cancer.png", "roc.png"):
        shown = out / name
        print(
            "picture:",
            shown.relative_to(Path.cwd())
            if shown.is_relative_to(Path.cwd())
            else shown,
        )
    if not np.isfinite(worst) or worst > TOLERANCE:
        sys.exit(f"a value differs from Keras's by {worst:.1e}, more than {TOLERANCE}")


if __name__ == "__main__":
    main()
