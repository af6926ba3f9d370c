"""Masks, weights and arguments that Keras's own classes do not take everywhere."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import COUNTS, DEVIATION_NAMES, Batch
from keras_tally import functional as F
from keras_tally.engine import Accumulator
from makers import (
    make_logits,
    make_multi_label,
    make_onehot,
    make_segments,
    make_sparse,
)
from support import (
    BACKEND,
    ROUNDING,
    as_float,
    assert_close,
    reference_after,
    to_backend,
    to_numpy,
    updated,
)


def logits(rng, shape, label_dtype, score_dtype):
    return make_logits(rng, (*shape, 3), label_dtype, score_dtype)


# Name, arguments, maker of the data, axes behind those of the samples.
ARGUMENTS = [
    ("SparseCategoricalAccuracy", {"ignore_class": 1}, make_sparse, 0),
    ("SparseCategoricalAccuracy", {"ignore_class": [0, 3, -100]}, make_sparse, 1),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "ignore_class": 6}, make_sparse, 0),
    (
        "SparseTopKCategoricalAccuracy",
        {"k": 3, "ignore_class": (1, 2)},
        make_sparse,
        1,
    ),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, make_sparse, 1),
    ("SparseCategoricalCrossentropy", {"ignore_class": [1, 5]}, make_sparse, 0),
    ("MeanIoU", {"num_classes": 4, "ignore_class": [0, 3]}, make_segments, 2),
    (
        "MeanIoU",
        {"num_classes": 4, "ignore_class": (1,), "per_class_counts": True},
        make_segments,
        1,
    ),
    ("OneHotMeanIoU", {"num_classes": 7, "ignore_class": [2, 4]}, make_onehot, 1),
    *((name, {"from_logits": True}, logits, 0) for name in (*COUNTS, "Precision")),
    *((name, {"class_id": 2}, make_multi_label, 0) for name in (*COUNTS, "AUC")),
    ("TruePositives", {"class_id": -1, "from_logits": True}, logits, 1),
    ("AUC", {"class_id": 0, "from_logits": True, "num_thresholds": 9}, logits, 1),
    ("Recall", {"from_logits": True, "thresholds": [0.2, 0.6]}, logits, 1),
    ("Precision", {"from_logits": True, "top_k": 2}, logits, 0),
    ("Recall", {"from_logits": True, "top_k": 1, "thresholds": 0.25}, logits, 0),
    ("SensitivityAtSpecificity", {"from_logits": True, "specificity": 0.5}, logits, 0),
    ("PrecisionAtRecall", {"from_logits": True, "recall": 0.5}, logits, 1),
    ("F1Score", {"from_logits": True, "threshold": 0.4}, logits, 0),
    ("F1Score", {"from_logits": True}, logits, 0),
    ("FBetaScore", {"from_logits": True, "average": "micro"}, logits, 0),
]
with_arguments = pytest.mark.parametrize(
    ("name", "kwargs", "make", "behind"),
    ARGUMENTS,
    ids=[f"{name}({kwargs})" for name, kwargs, *_ in ARGUMENTS],
)


def batches_of(make, behind, dtype="float32"):
    """Batches without weights, with those of samples, of all axes, and masks."""
    rng = np.random.default_rng(0)
    shape = (12, 4, 3)[: 1 + behind]
    for weight_axes, mask_axes in ((0, 0), (1, 0), (1 + behind, 0), (0, 1), (1, 1)):
        label_dtype = "int32" if make in (make_sparse, make_segments) else dtype
        args = make(rng, shape, label_dtype, dtype)
        weight = mask = None
        if weight_axes:
            weight = rng.integers(0, 4, shape[:weight_axes]).astype(np.float32)
        if mask_axes:
            mask = rng.uniform(size=shape[:mask_axes]) < 0.6
        yield Batch(args, weight, mask)


@with_arguments
def test_arguments_beyond_keras(name, kwargs, make, behind):
    batches = list(batches_of(make, behind))
    metric = updated(getattr(kt, name)(**kwargs), batches)
    wanted = reference_after(name, kwargs, batches).result()
    assert_close(metric.result(), wanted, ROUNDING["float32"] * 8, 1e-6)
    again = type(metric).from_config(metric.get_config())
    assert updated(again, batches).get_config() == metric.get_config()
    assert_close(again.result(), metric.result(), 0)


@with_arguments
def test_in_a_group(name, kwargs, make, behind):
    batches = list(batches_of(make, behind))
    alone = updated(getattr(kt, name)(**kwargs), batches)
    plain = {k: v for k, v in kwargs.items() if k not in ("ignore_class", "class_id")}
    both = {"one": getattr(kt, name)(**kwargs), "other": getattr(kt, name)(**plain)}
    group = updated(kt.MetricGroup(both), batches)
    assert_close(group.result()["one"], alone.result(), 0)
    other = updated(getattr(kt, name)(**plain), batches)
    assert_close(group.result()["other"], other.result(), 0)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [(name, kwargs) for name, kwargs, *_ in ARGUMENTS if name != "BinaryIoU"],
    ids=str,
)
def test_keras_reads_configs_without_them(name, kwargs):
    extra = ("ignore_class", "class_id", "from_logits", "per_class_counts")
    plain = {k: v for k, v in kwargs.items() if k not in extra}
    config = getattr(kt, name)(**plain).get_config()
    getattr(keras.metrics, name).from_config(config)


# Masks: what they leave out might as well not be there.

UNMASKED = [
    ("Mean", {}, "values"),
    ("Sum", {}, "values"),
    ("RootMeanSquaredError", {}, "pairs"),
    ("MeanSquaredError", {}, "pairs"),
    *((name, {}, "pairs") for name in (*COUNTS, "Precision", "Recall", "AUC")),
    ("AUC", {"multi_label": True}, "pairs"),
    ("Precision", {"top_k": 2}, "pairs"),
    ("Recall", {"class_id": 1, "thresholds": [0.3, 0.6]}, "pairs"),
    ("SensitivityAtSpecificity", {"specificity": 0.4}, "pairs"),
    ("F1Score", {}, "pairs"),
    ("FBetaScore", {"threshold": 0.5, "average": "micro"}, "pairs"),
    ("R2Score", {"num_regressors": 2}, "pairs"),
    ("BinaryIoU", {}, "pairs"),
    ("MeanIoU", {"num_classes": 4}, "ids"),
    ("MeanIoU", {"num_classes": 4, "per_class_counts": True}, "ids"),
    ("OneHotMeanIoU", {"num_classes": 3}, "pairs"),
]
TWO_AXES_ONLY = ("F1Score", "FBetaScore", *DEVIATION_NAMES)


@pytest.mark.parametrize("mask_axes", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "kwargs", "kind"), UNMASKED, ids=str)
def test_masks_leave_out(name, kwargs, kind, weighted, mask_axes):
    rng = np.random.default_rng(3)
    lead = (9, 4)[:mask_axes]
    if mask_axes == 2 and (name in TWO_AXES_ONLY or kwargs.get("multi_label")):
        pytest.skip("its inputs have two axes")
    if kind == "ids":
        arrays = [rng.integers(0, 4, lead).astype(np.int32) for _ in range(2)]
    else:
        arrays = [
            rng.integers(0, 2, (*lead, 3)).astype(np.float32),
            rng.uniform(size=(*lead, 3)).astype(np.float32),
        ]
    arrays = arrays[1:] if kind == "values" else arrays
    mask = rng.uniform(size=lead) < 0.6
    weight = rng.integers(0, 3, lead).astype(np.float32) if weighted else None
    kept = Batch([a[mask] for a in arrays], None if weight is None else weight[mask])
    masked = updated(getattr(kt, name)(**kwargs), [Batch(arrays, weight, mask)])
    wanted = updated(getattr(kt, name)(**kwargs), [kept])
    if name in ("Mean", "MeanSquaredError", "RootMeanSquaredError", "Sum"):
        # Of several axes, kept entries of samples of different lengths.
        wanted = reference_after(name, kwargs, [Batch(arrays, weight, mask)])
        rows = np.ones(lead) if weight is None else weight
        if name != "Sum" and name != "RootMeanSquaredError":
            values = arrays[0] if kind == "values" else (arrays[1] - arrays[0]) ** 2
            direct = np.average(values.mean(-1)[mask], weights=rows[mask])
            assert wanted.result() == pytest.approx(direct, rel=1e-6)
    assert_close(masked.result(), wanted.result(), 1e-6, 1e-7)


def test_masked_precision_of_padded_steps():
    """The numbers of a padded batch: 0.5 of the steps that are there."""
    y_true = np.float32([[1, 0, 0, 0], [0, 1, 0, 0]])
    y_pred = np.float32([[0.9, 0.8, 0.7, 0.9], [0.3, 0.6, 0.8, 0.9]])
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    metric = updated(kt.Precision(), [Batch((y_true, y_pred), None, mask)])
    hits = (y_pred > 0.5) & mask
    assert as_float(metric) == pytest.approx(
        (hits & (y_true == 1)).sum() / hits.sum(), rel=1e-6
    )


# Decisions.


def test_ignored_rows_are_the_losses():
    """Without weights as with weights of one, and as the loss of that name."""
    rng = np.random.default_rng(1)
    y_true = np.int32([0, 1, 2, 1, 2, 2])
    y_pred = rng.dirichlet(np.ones(3), 6).astype(np.float32)
    metric, weighted = (kt.SparseCategoricalCrossentropy(ignore_class=2) for _ in "ab")
    metric.update_state(to_backend(y_true), to_backend(y_pred))
    ones = to_backend(np.ones(6, np.float32))
    weighted.update_state(to_backend(y_true), to_backend(y_pred), ones)
    kept = y_true != 2
    wanted = -np.log(y_pred[kept, y_true[kept]]).mean()
    assert as_float(metric) == pytest.approx(wanted, rel=1e-6)
    assert as_float(weighted) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("how", ["uniform_average", "variance_weighted_average", None])
def test_r2_is_that_of_scikit_learn(how):
    """Constant columns, adjusted scores by samples, weights of 0."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    y_true = rng.normal(size=(30, 4)).astype(np.float32)
    y_pred = y_true + rng.normal(scale=0.3, size=(30, 4)).astype(np.float32)
    y_true[:, 1] = y_pred[:, 1] = 2.0
    y_true[:, 2] = 5.0
    weight = rng.integers(0, 3, 30).astype(np.float32)
    output = {None: "raw_values", "variance_weighted_average": "variance_weighted"}
    wanted = sklearn.r2_score(
        y_true, y_pred, sample_weight=weight, multioutput=output.get(how, how)
    )
    batch = Batch((y_true, y_pred), weight)
    metric = updated(kt.R2Score(class_aggregation=how), [batch])
    assert_close(metric.result(), wanted, 1e-6)
    n = np.count_nonzero(weight)
    adjusted = updated(kt.R2Score(class_aggregation=how, num_regressors=3), [batch])
    assert_close(adjusted.result(), 1 - (1 - wanted) * (n - 1) / (n - 4), 1e-6)
    assert float(to_numpy(adjusted.num_samples.value)) == n
    standalone = F.r2_score(
        y_true, y_pred, weight, class_aggregation=how, num_regressors=3
    )
    assert_close(standalone, to_numpy(adjusted.result()), 1e-6)


def test_samples_of_r2_are_rows_with_any_weight():
    weight = np.float32([[0, 0], [0, 1], [2, 0], [1, 1]])
    y = np.arange(8, dtype=np.float32).reshape(4, 2)
    metric = updated(kt.R2Score(), [Batch((y, y + 1), weight)] * 2)
    assert float(to_numpy(metric.num_samples.value)) == 6


def test_only_constant_columns():
    y = np.full((5, 2), 3, np.float32)
    for how in ("uniform_average", "variance_weighted_average"):
        metric = updated(kt.R2Score(class_aggregation=how), [Batch((y, y))])
        assert as_float(metric) == 1.0
        metric.update_state(to_backend(y), to_backend(y + np.float32([0, 1])))
        assert as_float(metric) == 0.5


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integer_dtypes_have_float_results(dtype):
    y_true, y_pred = np.int32([1, 2, 3, 4, 5]), np.int32([1, 2, 0, 0, 0])
    for name in ("Accuracy", "F1Score"):
        args = (y_true, y_pred)
        if name == "F1Score":
            args = [np.eye(6, dtype=np.float32)[a] for a in args]
        ours = updated(getattr(kt, name)(dtype=dtype), [Batch(args)])
        assert keras.backend.standardize_dtype(ours.result().dtype) == "float32"
    metric = updated(kt.Accuracy(dtype=dtype), [Batch((y_true, y_pred))])
    assert as_float(metric) == pytest.approx(0.4, rel=1e-6)
    mean = updated(kt.Mean(dtype=dtype), [Batch((np.int32([1, 2]),))])
    assert as_float(mean) == 1.5
    total = updated(kt.Sum(dtype=dtype), [Batch((np.int32([1, 2]),))])
    # JAX may have no 64-bit integers.
    wanted = {dtype, "int32"} if BACKEND == "jax" and dtype == "int64" else {dtype}
    assert keras.backend.standardize_dtype(total.result().dtype) in wanted


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_class_ids_are_no_one_hot_labels(shape):
    ids = to_backend(np.int32([0, 2, 1, 2]).reshape(shape))
    scores = to_backend(np.eye(4, 3, dtype=np.float32))
    for name in ("CategoricalAccuracy", "TopKCategoricalAccuracy", "MeanRank"):
        with pytest.raises(ValueError, match="Sparse"):
            getattr(kt, name)().update_state(ids, scores)


STANDALONE = ("f1_score", "fbeta_score", "precision", "recall", "auc", "true_positives")


@pytest.mark.host_only
@pytest.mark.parametrize("name", STANDALONE)
def test_vectors_of_class_ids_are_refused(name):
    y_true, y_pred = np.int64([1, 2, 1, 2]), np.int64([2, 1, 2, 1])
    for shape in ((4,), (4, 1)):
        if shape == (4, 1) and name.endswith("score"):
            continue  # a matrix of one column
        with pytest.raises(ValueError, match="one-hot"):
            getattr(F, name)(y_true.reshape(shape), y_pred.reshape(shape))
        accumulator = Accumulator(name)
        with pytest.raises(ValueError, match="one-hot"):
            accumulator.update(y_true.reshape(shape), y_pred.reshape(shape))
        accumulator.update([0, 1, 1, 0], [0.9, 0.8, 0.2, 0.1])
    assert np.isfinite(np.float64(getattr(F, name)([0, 1, 1], [0.1, 0.9, 0.3]))).all()
    with pytest.raises(ValueError, match="`y_true`"):
        F.categorical_accuracy(y_true, y_pred)


def test_macro_f1_of_class_ids():
    """What the error says to do gives scikit-learn's number."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 5, 872)
    y_pred = np.where(rng.uniform(size=872) < 0.6, y_true, rng.integers(0, 5, 872))
    one_hot = np.eye(5, dtype=np.float32)
    ours = F.f1_score(one_hot[y_true], one_hot[y_pred], average="macro")
    wanted = sklearn.f1_score(y_true, y_pred, average="macro")
    assert float(ours) == pytest.approx(wanted, abs=1e-6)


# What users write.


def test_errors_of_constructors_name_the_class():
    with pytest.raises(TypeError, match=r"^Precision\.__init__\(\).*'threshold'"):
        kt.Precision(threshold=0.5)


@pytest.mark.parametrize("make", [tuple, list, np.array, to_backend])
def test_thresholds_of_any_kind(make):
    given = make(np.float32([0.25, 0.75]) if make is not tuple else (0.25, 0.75))
    for name in ("Precision", "TruePositives", "AUC"):
        metric = getattr(kt, name)(thresholds=given)
        config = metric.get_config()
        assert config["thresholds"] == [0.25, 0.75]
        again = type(metric).from_config(config)
        assert again.get_config()["thresholds"] == [0.25, 0.75]
    value = F.recall([0, 1, 1], [0.1, 0.5, 0.9], thresholds=given)
    assert_close(value, [1.0, 0.5], 1e-6)


@pytest.mark.parametrize("thresholds", [[], [0.5, np.nan], [1.5], "0.5", [None]])
def test_thresholds_that_are_none(thresholds):
    for make in (kt.Precision, kt.TruePositives):
        with pytest.raises(ValueError, match="`thresholds`"):
            make(thresholds=thresholds)
    with pytest.raises(ValueError, match="`thresholds`"):
        F.recall([0, 1], [0.1, 0.5], thresholds=thresholds)


def test_numbers_of_classes():
    assert kt.MeanIoU(num_classes=2.0).get_config()["num_classes"] == 2
    for wrong in (0, -1, 2.5, "2", None):
        with pytest.raises(ValueError, match="`num_classes`"):
            kt.MeanIoU(num_classes=wrong)
        with pytest.raises(ValueError, match="`num_classes`"):
            kt.IoU(num_classes=wrong, target_class_ids=[0])


@pytest.mark.parametrize("wrong", ["1", 1.5, [0, "x"], range(9)])
def test_ignored_classes_are_checked(wrong):
    with pytest.raises(ValueError, match="`ignore_class`"):
        kt.SparseCategoricalAccuracy(ignore_class=wrong)


class Positives(kt.Metric):
    """Written as Keras's documentation has it: the result is a variable."""

    def __init__(self, name="positives", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(keras.ops.sum(keras.ops.cast(y_true, "float32")))

    def result(self):
        return self.total


def test_results_that_are_variables():
    metric = Positives()
    metric.update_state([1.0, 0.0], [1.0, 1.0])
    first = metric.result()
    metric.update_state([1.0, 1.0], [1.0, 1.0])
    assert float(to_numpy(first)) == 1.0  # no view of the state
    assert as_float(metric) == 3.0
    if BACKEND == "numpy":
        return  # Keras's NumPy backend does not train
    x, y = np.ones((8, 3), np.float32), np.float32([[0], [1]] * 4)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[Positives()])
    assert model.fit(x, y, verbose=0).history["positives"] == [4.0]


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere it works")
def test_a_metric_in_a_layer_says_what_to_do():
    class Layer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = kt.Mean()

        def call(self, x):
            self.mean.update_state(x)
            return x

    model = keras.Sequential([keras.Input((3,)), Layer(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
    with pytest.raises(Exception, match="give the metric to `compile"):
        model.fit(x, y, verbose=0)


@pytest.mark.torch_only
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_cannot_be_read_say_why():
    import torch

    freed = torch.rand(3)
    freed.untyped_storage().resize_(0)
    rows = [torch.ones(2), torch.ones(3)]
    for y_pred, remedy in (
        (torch.nested.nested_tensor(rows), "nested"),
        (torch.nested.nested_tensor(rows, layout=torch.jagged), "nested"),
        (torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8), "dequantize"),
        (freed, "freed"),
        (torch.rand(3).to_sparse(), "to_dense"),
    ):
        metric = kt.Precision()
        with pytest.raises(TypeError, match=f"^`y_pred` must.*{remedy}"):
            metric.update_state(torch.ones(3), y_pred)
        with pytest.raises(TypeError, match=f"^`y_pred` must.*{remedy}"):
            F.precision(torch.ones(3), y_pred)
