"""What a process is like before and after `import keras_tally`, and a first metric.

    python tests/side_effects.py

prints, as JSON, each thing that a program could notice, before and after.
"""

import atexit
import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings

import keras
import numpy as np
import optree


def error_of_another_package():
    """Return what optree, another package made with pybind11, says of a mistake."""
    try:
        optree.tree_map(lambda a, b: 0, [1, 2], (3, 4))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def logging_setup():
    """Return the handlers and the level of the root logger."""
    return repr((logging.root.handlers, logging.root.level))


LOOKS = {
    "exceptions of others": error_of_another_package,
    "warning filters": lambda: repr(warnings.filters),
    "warning functions": lambda: repr((warnings.warn, warnings.showwarning)),
    "signal handlers": lambda: repr(
        {int(s): signal.getsignal(s) for s in signal.valid_signals()}
    ),
    "environment": lambda: dict(os.environ),
    "working folder": os.getcwd,
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "threads": lambda: len(os.listdir("/proc/self/task")),
    "Python's threads": lambda: [t.name for t in threading.enumerate()],
    "hooks": lambda: repr((sys.excepthook, threading.excepthook, sys.unraisablehook)),
    "path": lambda: list(sys.path),
    "recursion limit": sys.getrecursionlimit,
    "switch interval": sys.getswitchinterval,
    "garbage collector": lambda: [gc.isenabled(), gc.get_threshold(), gc.callbacks],
    "end of the process": atexit._ncallbacks,
    "NumPy's errors": np.geterr,
    "NumPy's printing": lambda: repr(np.get_printoptions()),
    "random numbers": lambda: repr(
        (random.getstate(), np.random.get_state())  # noqa: NPY002
    ),
    "logging": logging_setup,
    "Keras's settings": lambda: [
        keras.config.floatx(),
        keras.config.epsilon(),
        keras.config.backend(),
        keras.config.image_data_format(),
    ],
    "frameworks": lambda: sorted(
        {"torch", "jax", "tensorflow", "matplotlib", "scipy", "pandas", "sklearn"}
        & {name.partition(".")[0] for name in sys.modules}
    ),
    "modules but ours": lambda: sorted(
        name for name in sys.modules if name.partition(".")[0] != "keras_tally"
    ),
}


def look():
    """Return everything as it is now."""
    return {name: get() for name, get in LOOKS.items()}


def main():
    keras.metrics.Mean().update_state([1.0])  # what Keras itself does when first used
    before = look()
    import keras_tally as kt

    imported = look()
    m = kt.Mean()
    m.update_state(np.ones(3, "float32"))
    m.result()
    json.dump([before, imported, look()], sys.stdout, default=repr)


if __name__ == "__main__":
    main()
