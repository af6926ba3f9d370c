"""Daemon threads that are in the middle of native calls when the program ends."""

import subprocess
import sys
import textwrap

import pytest

from support import BACKEND, IS_PORTABLE

PROGRAM = """
    import threading
    import time

    import numpy as np

    {setup}

    def work(started):
        while True:
            call()
            started.set()

    for _ in range(3):
        started = threading.Event()
        threading.Thread(target=work, args=[started], daemon=True).start()
        started.wait()
    time.sleep(0.05)
"""

LARGE = """
    from keras_tally import engine
    x = np.zeros(2_000_000, "float32")
    metric = engine.Accumulator("mean_squared_error")
"""

# What `call` is: what lets go of the interpreter's lock, and takes it again to return.
CALLS = {
    "arrays": LARGE + "    call = lambda: metric.update(x, x)",
    "lists of arrays": LARGE + "    call = lambda: metric.update([x], [x])",
    # A method made of Python code, called by native code.
    "__dlpack__": LARGE
    + """
    class Tensor:
        def __dlpack__(self, **_):
            return sum(range(300)) and x[:3].__dlpack__()

    call = lambda: metric.update(Tensor(), Tensor())
""",
    "a function of values": """
    from keras_tally import functional
    x = np.zeros(2_000_000, "float32")
    call = lambda: functional.mean_squared_error(x, x)
""",
}
if not IS_PORTABLE:
    CALLS["a group"] = """
    import keras_tally as kt
    x = np.zeros((2_000_000, 1), "float32")
    metric = kt.MetricGroup([kt.BinaryAccuracy(), kt.MeanSquaredError()])
    call = lambda: metric.update_state(x, x)
"""
if BACKEND == "tensorflow":  # JAX's own programs do not end in peace
    CALLS["eager updates"] = """
    import keras
    import keras_tally as kt
    x = keras.ops.zeros((300_000, 1))
    metric = kt.MeanSquaredError()
    call = lambda: metric.update_state(x, x)
"""


# Of every other one the way out is the same.
SLOW = set(CALLS) - {"arrays", "__dlpack__"}


@pytest.mark.parametrize(
    "what",
    [pytest.param(c, marks=[pytest.mark.slow] if c in SLOW else []) for c in CALLS],
)
def test_a_program_ends_in_peace(what):
    program = textwrap.dedent(PROGRAM).format(setup=textwrap.dedent(CALLS[what]))
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
        )
        errors = [line for line in run.stderr.splitlines() if "terminate" in line]
        assert (run.returncode, errors) == (0, []), run.stderr[-2000:]
