"""The examples for data engines: the same counts from Dask, Spark and one process."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_score, recall_score

import keras_tally as kt
from support import skip_or_fail, torch_only

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [torch_only, pytest.mark.slow]


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """A folder of 8 files with 20,011 rows."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("scores")
    run("parquet_scores.py", folder, 20_011)
    return folder


@pytest.fixture(scope="module")
def single(scores):
    return run("parquet_single.py", scores).stdout


def table_of(folder):
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet").to_table(["label", "score"])
    return table["label"].to_numpy(), table["score"].to_numpy()


def test_single_process_agrees_with_scikit_learn(scores, single):
    label, score = table_of(scores)
    predicted = score > 0.5
    found = {name: float(x) for name, x in re.findall(r"(\w+) +([01]\.\d+)", single)}
    assert "20,011 rows" in single
    for name, function in (
        ("accuracy", accuracy_score),
        ("precision", precision_score),
        ("recall", recall_score),
    ):
        assert found[name] == pytest.approx(function(label, predicted), abs=1e-6)


def test_dask_gives_the_same(scores, single):
    pytest.importorskip("distributed")
    done = run("parquet_dask.py", scores)
    assert done.stdout == single
    assert "[8/8] 20,011 rows" in done.stderr


def test_spark_gives_the_same(scores, single):
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        skip_or_fail("no Java on this machine", "KERAS_TALLY_REQUIRE_JAVA")
    assert run("parquet_spark.py", scores).stdout == single


def test_memory_does_not_grow_with_the_file(tmp_path):
    """In a process that evaluates a file ten times as large as what it may take."""
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = tmp_path / "scores.parquet"
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "label": rng.integers(0, 2, 2**20, dtype="int8"),
            "score": rng.random(2**20, "float32"),
        }
    )
    with pq.ParquetWriter(path, table.schema, use_dictionary=False) as writer:
        for _ in range(125):
            writer.write_table(table, row_group_size=2**18)
    done = run("../bench/distributed.py", "--evaluate", path)
    found = json.loads(done.stdout.splitlines()[-1])
    bound = 48 * 2**20
    assert found["file"] > 10 * bound
    assert found["growth"] < bound


def test_arrow_memory_is_read_where_it_lies(roads):
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    batch = pa.record_batch(
        {
            "label": rng.integers(0, 2, 1000, dtype="int8"),
            "score": rng.random(1000, "float32"),
        }
    )
    metric = kt.AUC()
    label, score = (batch.column(i).to_numpy(zero_copy_only=True) for i in range(2))
    assert not score.flags.writeable
    assert score.ctypes.data == batch.column(1).buffers()[1].address
    metric.update_state(label, score)
    # One update in place, on NumPy's own road, and no conversion.
    assert roads()["in_place"] == 1
    assert roads()["numpy"] >= 2
    assert "converted" not in roads()
