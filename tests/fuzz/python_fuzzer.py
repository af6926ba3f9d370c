"""One of the targets in Python under atheris, which is libFuzzer.

KERAS_BACKEND=numpy python python_fuzzer.py byte_form [CORPUS...] [-max_total_time=60]
"""

import importlib
import inspect
import sys
import types
import warnings
from pathlib import Path

import atheris

import keras_tally


def instrument():
    """Let atheris see the branches of the package; its import hook misses what the
    package imports late.
    """
    seen = set()
    for name, module in list(sys.modules.items()):
        if module is None or not name.startswith(keras_tally.__name__ + "."):
            continue
        classes = [c for c in vars(module).values() if isinstance(c, type)]
        for value in [v for owner in (module, *classes) for v in vars(owner).values()]:
            function = inspect.unwrap(getattr(value, "__func__", value))
            if not isinstance(function, types.FunctionType):
                continue
            if function.__module__ == name and function.__code__ not in seen:
                atheris.instrument_func(function)
                seen.add(function.__code__)
    print(f"{len(seen)} functions are instrumented")


def main():
    """Fuzz; never returns."""
    target = importlib.import_module(sys.argv[1])
    instrument()
    warnings.simplefilter("ignore")
    folder = next((a for a in sys.argv[2:] if not a.startswith("-")), None)
    merging = any("merge" in argument for argument in sys.argv)
    if folder is not None and not merging and not any(Path(folder).iterdir()):
        for i, seed in enumerate(target.seeds()):
            Path(folder, f"seed{i}").write_bytes(seed)
    mutator = {"custom_mutator": target.mutate} if hasattr(target, "mutate") else {}
    # A merge starts more processes, each by this as the program's name.
    program = f"{sys.executable} {__file__} {sys.argv[1]}"
    atheris.Setup([program, *sys.argv[2:]], target.run, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
