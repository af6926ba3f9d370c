"""The benchmark of all classes runs and has every class that Keras exports; so does
the comparison for users, which refuses to time wrong answers.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest

import keras_tally as kt
from keras_tally import _native
from keras_tally.bench import __main__ as bench
from keras_tally.bench import compare
from keras_tally.bench.exact import EXACT
from keras_tally.bench.subjects import BY_NAME, OTHERS, is_installed

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "all_classes.py"


@pytest.mark.slow
@pytest.mark.torch_only
def test_all_classes():
    for package in ("torchmetrics", "torcheval"):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [r.split(" | ")[0] for r in done.stdout.splitlines() if r.startswith("| ")]
    names = {row.strip("| ").split("(")[0].split(" ")[0] for row in rows}
    classes = {n for n, c in vars(keras.metrics).items() if isinstance(c, type)}
    assert classes - {"Metric"} <= names


# --------------------------------------------------------------------------------------
# python -m keras_tally.bench


def run(*arguments, backend=None):
    backend = backend or keras.config.backend()
    return subprocess.run(
        [sys.executable, "-m", "keras_tally.bench", *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_small_run_writes_tables_and_plots(tmp_path):
    # Enough for JAX, which compiles what it has not seen before, on a busy machine.
    done = run(
        *("--metrics", "TruePositives,F1Score", "--batch-sizes", "1,64"),
        *("--sizes", "1000,2e3", "--seconds", 25),
        *("--out", tmp_path / "new" / "here"),
    )
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "new" / "here" / "results.json").read_text())
    assert stored["backend"] == keras.config.backend()
    assert stored["machine"]["simd"] == _native.active_level()
    assert stored["versions"]["keras"] == keras.__version__
    assert "--metrics TruePositives,F1Score" in stored["command"]
    assert str(tmp_path) not in json.dumps(stored)
    assert {r["metric"] for r in stored["errors"]} == {"TruePositives", "F1Score"}
    assert {r["batch"] for r in stored["latency"]} == {1, 64}
    assert {r["elements"] for r in stored["throughput"]} == {1000, 2000}
    for row in stored["latency"]:
        assert row["ours"] > 0
        assert row["keras"] > 0
    for row in stored["errors"]:
        # Keras's F1 adds 1e-7 to its denominators, and so do we.
        assert row["ours"] < (3e-7 if row["metric"] == "F1Score" else 6e-8)
        assert row["elements"] >= compare.CHUNK * compare.CHUNKS
    if importlib.util.find_spec("matplotlib"):
        for name in ("latency", "throughput", "errors"):
            picture = tmp_path / "new" / "here" / f"{name}.png"
            assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| TruePositives |" in done.stdout


@pytest.mark.slow
def test_a_backend_is_chosen_before_keras_is_imported(tmp_path):
    other = {"numpy": "torch"}.get(keras.config.backend(), "numpy")
    done = run("--list", "--backend", other)
    assert done.returncode == 0, done.stderr
    assert f"Keras on {other}" in done.stdout
    assert "BinaryAccuracy" in done.stdout


@pytest.mark.parametrize("name", sorted(EXACT))
def test_answers_are_those_of_the_definitions(name):
    compare.check_answers(BY_NAME[name], "float32", "cpu", ["ours", "keras"])


@pytest.mark.parametrize("name", ["BinaryAccuracy", "Huber", "MetricGroup(8)"])
def test_a_wrong_answer_stops_the_run_before_anything_is_timed(
    name, monkeypatch, tmp_path
):
    right = BY_NAME[name]

    def make(module):
        metric = right.ours(module)
        return Off(metric) if module is kt else metric

    monkeypatch.setitem(BY_NAME, name, replace(right, ours=make))
    monkeypatch.setattr(compare, "interleaved", lambda *_: pytest.fail("timed"))
    options = ["--metrics", name, "--out", str(tmp_path / "none")]
    with pytest.raises(
        SystemExit, match=f"wrong answer.*: keras-tally, {re.escape(name)}"
    ):
        bench.main(options)
    assert not (tmp_path / "none").exists()


class Off:
    """A metric whose results are a little too large."""

    def __init__(self, metric):
        self.metric = metric
        self.variables = metric.variables
        self.update_state = metric.update_state

    def result(self):
        return [1.001 * number for number in compare.numbers(self.metric.result())]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--metrics Nothing", "'Nothing' is none of the metrics"),
        ("--sizes 10,x", "'x' is no whole number"),
        ("--sizes 1.5", "'1.5' is no whole number"),
        ("--batch-sizes 0", "'0' is no whole number"),
        ("--dtypes int8", "'int8' is none of: float32"),
        ("--seconds -1", "'-1' is no number of seconds"),
        ("--seconds nan", "'nan' is no number of seconds"),
        ("--threads 0", "'0' is no number between"),
        ("--backend theano", "invalid choice: 'theano'"),
        (f"--out {Path(__file__).name}", "is no folder"),
    ],
)
def test_options_are_checked(options, words, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    name, value = options.split()
    with pytest.raises(SystemExit) as stopped:
        bench.main([f"{name}={value}"])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_names_of_metrics():
    assert bench.metric_names("auc, f1score") == ["AUC(200)", "F1Score"]
    assert bench.metric_names("AUC(200, PR),auc") == ["AUC(200, PR)", "AUC(200)"]
    assert bench.metric_names("SparseCategoricalCrossentropy") == [
        "SparseCategoricalCrossentropy"
    ]
    assert set(bench.metric_names("all")) == set(BY_NAME)


@pytest.mark.torch_only
def test_a_library_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(bench, "is_installed", lambda library: False)
    bench.main(["--list"])
    assert "not installed: torchmetrics, torcheval, scikit-learn" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["Precision", "MeanSquaredError", "MetricGroup(8)"])
def test_other_dtypes(name, dtype):
    if dtype == "float64" and keras.config.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is switched on")
    libraries = [n for n in OTHERS if is_installed(n)]
    usable, _ = compare.check_answers(
        BY_NAME[name], dtype, "cpu", ["ours", "keras", *libraries]
    )
    assert usable[:2] == ["ours", "keras"]


# --------------------------------------------------------------------------------------
# bench/gpu.py


def gpu_script(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT.with_name("gpu.py")), "--device=cpu", *arguments],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.torch_only
def test_the_gpu_benchmark_on_the_host(tmp_path):
    """The script itself, before it meets a GPU; the host's numbers are not stored."""
    arguments = ("--quick", "--out", str(tmp_path), "rates", "host")
    done = gpu_script(*arguments)
    assert done.returncode == 0, done.stderr
    for name in ("AUC(65536)", "SparseCategoricalCrossentropy", "MetricGroup(8)"):
        assert f"metric: {name} " in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.torch_only
def test_small_updates_of_every_class_on_the_host():
    done = gpu_script("--short")
    assert done.returncode == 0, done.stderr
    assert "answers are right" in done.stdout
    classes = {n for n, c in vars(keras.metrics).items() if isinstance(c, type)}
    lines = {
        line.split("(")[0].split(":")[0].strip() for line in done.stdout.split("\n")
    }
    assert classes - {"Metric"} <= lines
