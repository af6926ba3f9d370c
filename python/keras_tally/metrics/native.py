"""A metric whose kernel is in another package: `NativeMetric`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
from keras.src.losses.loss import squeeze_or_expand_to_same_rank

from keras_tally import _native
from keras_tally.metrics.reduction import KernelMean

_LAST_AXIS = ("mean", "sum", None)
_MOST_ARGUMENTS = 4  # kMaxArguments in csrc/defs/common.h


class NativeMetric(KernelMean):
    """The mean of what a kernel of your own says of each pair of elements.

    The kernel is one C++ definition in a package of yours, which `docs/cpp.md` and
    `examples/custom_kernel` show how to write and build. A subclass names it and says
    with which numbers it is called.

    Formula: `mean(value(y_true, y_pred))`: over the last axis first, then over samples
    with `sample_weight` and the Keras mask of `y_pred`. `last_axis` may say otherwise.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that fit by the rule in the
    kernel's row, bool, integer or float; the result is a scalar of `dtype`. Values are
    computed and summed in float64 on torch and NumPy.

    A subclass sets or overrides:

    - `kernel`: the name, which the extension module has as an attribute:
      `kernel = _kernels.quantile_error`.
    - `last_axis`: `"mean"` or `"sum"`, what becomes of the values along the last axis,
      which then are one value; None: each counts, and may have its own weight.
    - `kernel_arguments()`: up to 4 numbers, `params.arguments` of the definition. It is
      called by the constructor: set what it reads before `super().__init__()`.
    - `portable(y_true, y_pred)`: the definition once more, in `keras.ops`: each pair's
      value, nothing reduced. JAX and TensorFlow need it where they cannot call kernels.
    - `get_config()`: the arguments of its constructor, as in every Keras class.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: no such kernel, arguments that are no finite numbers or too many;
            shapes or weights that do not fit.
        TypeError: the class names no kernel; a dtype that is no bool, integer or
            float up to 64 bits.
        NotImplementedError: on JAX or TensorFlow, a class without `portable()`.

    Example:

    >>> import keras_tally as kt
    >>> class SquaredError(kt.NativeMetric):
    ...     kernel = "squared_error"  # one of ours; yours is an attribute of a module
    ...
    ...     def portable(self, y_true, y_pred):
    ...         return (y_true - y_pred) ** 2
    >>> m = SquaredError()
    >>> m.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    >>> float(m.result())
    0.25

    Source: `keras.metrics.MeanMetricWrapper`, for how values become a mean.
    """

    kernel: ClassVar[str] = ""
    last_axis: ClassVar[str | None] = "mean"

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self._kernel = _known(type(self))
        super().__init__(name=name, dtype=dtype)

    def kernel_arguments(self) -> Sequence[float]:
        """Return the numbers that the kernel is called with."""
        return ()

    def portable(self, y_true: Any, y_pred: Any) -> Any:
        """Return each pair's value, computed by `keras.ops`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no `portable(y_true, y_pred)`, which says in "
            f"`keras.ops` what its kernel computes: on the {keras.config.backend()} "
            "backend, metrics need it where no kernel can be called."
        )

    def _kernel_options(self) -> dict[str, Any]:
        arguments = [float(x) for x in self.kernel_arguments()]
        if len(arguments) > _MOST_ARGUMENTS or not all(map(math.isfinite, arguments)):
            raise ValueError(
                f"`kernel_arguments()` must return at most {_MOST_ARGUMENTS} finite "
                f"numbers. Received: {arguments}"
            )
        return {
            "arguments": arguments,
            "last_axis": self.last_axis,
            "epsilon": keras.config.epsilon(),
        }

    def _keras_twin(self) -> keras.metrics.Metric:
        if type(self).portable is NativeMetric.portable:
            self.portable(None, None)
        return self._mean_twin(self._portable_values)

    def _portable_values(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = keras.ops.convert_to_tensor(y_pred)
        y_true = keras.ops.convert_to_tensor(y_true, dtype=y_pred.dtype)
        if _native.elementwise_shapes(self._kernel) == "Broadcast":
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        values = self.portable(y_true, y_pred)
        if self.last_axis is None or len(values.shape) == 0:
            return values
        reduce = {"mean": keras.ops.mean, "sum": keras.ops.sum}[self.last_axis]
        return reduce(values, axis=-1)


def _known(cls: type[NativeMetric]) -> str:
    """Return the kernel that the class names."""
    if not isinstance(cls.kernel, str) or not cls.kernel:
        raise TypeError(
            f"`{cls.__name__}.kernel` must be the name of a kernel, which your "
            "extension module has as an attribute: kernel = _kernels.my_kernel. "
            f"Received: {cls.kernel!r}"
        )
    if cls.last_axis not in _LAST_AXIS:
        raise ValueError(
            f"`{cls.__name__}.last_axis` must be one of {_LAST_AXIS}. "
            f"Received: {cls.last_axis!r}"
        )
    if _native.elementwise_shapes(cls.kernel) is None:
        raise ValueError(
            f"`{cls.__name__}.kernel` must name an elementwise kernel of y_true and "
            "y_pred: one of ours, or one that the import of its extension module has "
            f"registered. Received: {cls.kernel!r}"
        )
    return cls.kernel


def get_cmake_dir() -> str:
    """Return the folder in which CMake finds `keras_tally`.

    For `find_package(keras_tally CONFIG REQUIRED)` in a build that does not look into
    site-packages by itself, as scikit-build-core does:
    `cmake -Dkeras_tally_DIR=$(python -m keras_tally --cmake-dir)`.

    Returns:
        An absolute path.

    Raises:
        FileNotFoundError: this installation has no headers.

    Example:

    >>> import keras_tally as kt
    >>> kt.get_cmake_dir().endswith("cmake/keras_tally")
    True
    """
    # Beside the extension: in an editable installation, Python's files are elsewhere.
    folder = Path(_native.__file__).parent / "share" / "cmake" / "keras_tally"
    if not (folder / "keras_tallyConfig.cmake").is_file():
        raise FileNotFoundError(f"there is no keras_tallyConfig.cmake in {folder}")
    return str(folder)
