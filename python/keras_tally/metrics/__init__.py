"""The metrics, one file per family.

`functions` and `elementwise` need Keras, and are not imported with the package.
"""

from keras_tally._declare import METRICS as METRICS
from keras_tally.metrics import (
    accuracy,
    confusion,
    correlation,
    f_score,
    hinge,
    iou,
    probabilistic,
    reduction,
    regression,
)

FAMILIES = (
    reduction,
    accuracy,
    confusion,
    f_score,
    iou,
    regression,
    correlation,
    probabilistic,
    hinge,
)
