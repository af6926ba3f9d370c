"""The pytest plugin of tools/keras_tests.py: markers, our classes, a report."""

import functools
import json
import os
import sys
from pathlib import Path

import keras
import keras.src.metrics
import pytest

OUTCOMES = {}
RANK = {"passed": 0, "skipped": 1, "failed": 2}


def pytest_configure(config):
    for marker in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{marker}: of Keras's own tests")
    if keras.backend.backend() == "torch":
        import torch

        # What is traced is the same; machine code of it takes minutes more.
        torch.compile = functools.partial(torch.compile, backend="aot_eager")
    if os.environ["KERAS_TALLY_KERAS_TESTS_INSTALL"]:
        install()


def install():
    """Put our classes everywhere: the tests also reach into Keras's modules."""
    theirs = dict(vars(keras.src.metrics))
    import keras_tally as kt

    kt.install()
    for name, module in list(sys.modules.items()):
        if name.startswith("keras.src.metrics."):
            for key, value in list(vars(module).items()):
                ours = vars(keras.src.metrics).get(key)
                if value is theirs.get(key) and isinstance(value, type):
                    setattr(module, key, ours)


def pytest_collection_modifyitems(items):
    if keras.backend.backend() in ("numpy", "openvino"):
        skip = pytest.mark.skip(reason="needs a backend that trains")
        for item in items:
            if "requires_trainable_backend" in item.keywords:
                item.add_marker(skip)


def pytest_runtest_logreport(report):
    name = report.nodeid.rpartition("/")[2]
    OUTCOMES[name] = max(OUTCOMES.get(name, "passed"), report.outcome, key=RANK.get)


def pytest_sessionfinish():
    report = Path(os.environ["KERAS_TALLY_KERAS_TESTS"])
    report.write_text(json.dumps(OUTCOMES, indent=1))
