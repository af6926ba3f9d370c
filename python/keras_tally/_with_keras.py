"""What the families of metrics take from modules that need Keras (`_declare`).

Type checkers see the things themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras as keras
    from keras import ops as ops
    from keras.src import losses as losses
    from keras.src.backend.common.masking import get_keras_mask as get_keras_mask
    from keras.src.metrics.metrics_utils import AUCCurve as AUCCurve
    from keras.src.metrics.metrics_utils import AUCSummationMethod as AUCSummationMethod

    from keras_tally._engine import update as update
    from keras_tally._fallback.arrays import divide_no_nan as divide_no_nan
    from keras_tally._fallback.arrays import mean as mean
    from keras_tally._fallback.arrays import product as product
    from keras_tally._fallback.arrays import wide as wide
    from keras_tally._kernel_metric import KernelMetric as KernelMetric
    from keras_tally._kernel_metric import LateMetric as LateMetric
    from keras_tally._kernel_metric import PairMetric as PairMetric
    from keras_tally._kernel_metric import check_matrices as check_matrices
    from keras_tally._kernel_metric import keras_rules as keras_rules
    from keras_tally._kernel_metric import result_dtype_of as result_dtype_of
    from keras_tally._masks import combine_mask as combine_mask
    from keras_tally._warnings import warn as warn
else:
    from keras_tally._declare import Reference, elsewhere

    keras, ops = Reference("keras"), Reference("keras.ops")
    losses = Reference("keras.src.losses")
    get_keras_mask = Reference("keras.src.backend.common.masking", "get_keras_mask")
    _curves = Reference("keras.src.metrics.metrics_utils")
    AUCCurve, AUCSummationMethod = _curves.AUCCurve, _curves.AUCSummationMethod

    update = Reference("keras_tally._engine", "update")
    _arrays = Reference("keras_tally._fallback.arrays")
    divide_no_nan, mean = _arrays.divide_no_nan, _arrays.mean
    product, wide = _arrays.product, _arrays.wide
    _base = Reference("keras_tally._kernel_metric")
    check_matrices, keras_rules = _base.check_matrices, _base.keras_rules
    result_dtype_of = _base.result_dtype_of
    KernelMetric = elsewhere("keras_tally._kernel_metric", "KernelMetric")
    PairMetric = elsewhere("keras_tally._kernel_metric", "PairMetric")
    LateMetric = elsewhere("keras_tally._kernel_metric", "LateMetric")
    combine_mask = Reference("keras_tally._masks", "combine_mask")
    warn = Reference("keras_tally._warnings", "warn")
