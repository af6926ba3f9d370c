"""How many threads large updates use."""

from __future__ import annotations

from keras_tally import _native


def num_threads() -> int:
    """Return how many threads an update of a large batch may use.

    The default is the number of cores this process may run on, at most 8, or
    the environment variable `KERAS_TALLY_NUM_THREADS`. Small batches always use
    one; results never depend on it.

    Example:

    >>> import keras_tally as kt
    >>> kt.num_threads() >= 1
    True
    """
    return _native.num_threads()


def set_num_threads(count: int) -> None:
    """Set how many threads an update of a large batch may use.

    Args:
        count: between 1 and 256.

    Raises:
        ValueError: a count out of range.

    Example:

    >>> import keras_tally as kt
    >>> before = kt.num_threads()
    >>> kt.set_num_threads(1)
    >>> kt.num_threads()
    1
    >>> kt.set_num_threads(before)
    """
    _native.set_num_threads(count)
