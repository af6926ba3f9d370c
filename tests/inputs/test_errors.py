"""Bad input: an error that names the argument, and a state that is as it was."""

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_tally as kt
from cases import (
    CONFUSION_NAMES,
    CONSTRAINED,
    COUNTS,
    DEFAULT_CASES,
    DEVIATION_NAMES,
    F_NAMES,
    IOU_NAMES,
    RATIOS,
    default_case,
    few_if_compiled,
)
from keras_tally import _native
from support import (
    BACKEND,
    IS_TORCH,
    as_float,
    assert_close,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

if IS_TORCH:
    import torch

every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
# Their inputs are `values`, and any shape is good.
REDUCTIONS = ("Mean", "Sum")
# The user's own function sees the inputs first and may raise what it likes.
waits_for_data = pytest.mark.skipif(
    BACKEND == "jax", reason="nobody waits for the data: NaN instead, see test_jax.py"
)
two_inputs = pytest.mark.parametrize(
    "case",
    [c for c in DEFAULT_CASES if c.name not in (*REDUCTIONS, "MeanMetricWrapper")],
    ids=lambda c: c.name,
)
no_wrapper = pytest.mark.parametrize(
    "case", few_if_compiled([c for c in DEFAULT_CASES if c.name != "MeanMetricWrapper"])
)


def assert_refused(metric, args, match, weight=None, error=(ValueError, TypeError)):
    """The update raises, says which argument, and leaves every bit as it was."""
    before = state_bits(metric)
    kwargs = {} if weight is None else {"sample_weight": weight}
    with pytest.raises(error, match=match):
        metric.update_state(*args, **kwargs)
    assert state_bits(metric) == before


def used(case):
    """A metric with some state to lose, and a good batch for it."""
    batch = case.sample(0, 6)
    return updated(case.ours(), [batch]), [to_backend(a) for a in batch.args]


@two_inputs
def test_batch_sizes_that_differ(case):
    if case.name == "MeanMaxProbability":
        pytest.skip("it does not look at y_true")
    metric, (y_true, y_pred) = used(case)
    assert_refused(metric, (y_true[:4], y_pred), "y_true|y_pred")
    assert_refused(metric, (y_true, y_pred[:4]), "y_true|y_pred")


@pytest.mark.parametrize(
    "name",
    [
        *CONFUSION_NAMES,
        "BinaryCrossentropy",
        "CategoricalCrossentropy",
        "SparseCategoricalCrossentropy",
        *F_NAMES,
        *IOU_NAMES,
        *DEVIATION_NAMES,
    ],
)
def test_ranks_that_differ(name):
    """Where Keras broadcasts (the regression family), so do we; not here."""
    metric, (y_true, y_pred) = used(default_case(name))
    stack = torch.stack if IS_TORCH else np.stack
    assert_refused(metric, (y_true, stack([y_pred, y_pred])[None]), "y_true|y_pred")


@pytest.mark.parametrize("name", CONFUSION_NAMES)
def test_confusion_shapes_must_match(name):
    """Keras broadcasts or flattens some of these into plausible numbers."""
    metric = default_case(name).ours()
    updated(metric, [default_case(name).sample(0, 5)])
    rng = np.random.default_rng(0)
    for first, second in (
        ((4, 3), (4, 1)),
        ((4, 1), (4, 3)),
        ((4,), (4, 3)),
        ((4, 3), (12,)),
        ((1,), (4,)),
        ((4, 3), (3, 4)),
    ):
        args = [to_backend(np.float32(rng.uniform(size=s))) for s in (first, second)]
        assert_refused(metric, args, "y_true|y_pred", error=ValueError)


@every_class
def test_weights_of_another_batch(case):
    metric, args = used(case)
    if case.name == "MeanMetricWrapper":
        args = [to_backend(a) for a in case.sample(0, 6).args]
    shapes = [(5,), (7,), (5, 1)]
    if case.name not in IOU_NAMES:  # which flatten their weights
        shapes.append((6, 1, 1, 1, 1))
    for shape in shapes:
        weight = to_backend(np.ones(shape, np.float32))
        assert_refused(metric, args, "sample_weight", weight)


@every_class
def test_full_rank_weights_of_another_shape(case):
    batch = case.batch(0, (6, 4) if 2 in case.ranks else (6,))
    metric = updated(case.ours(), [batch])
    args = [to_backend(a) for a in batch.args]
    weight = to_backend(np.ones((6, 9), np.float32))
    assert_refused(metric, args, "sample_weight", weight)


def bad_dtypes(array):
    """The array in dtypes that no metric takes."""
    yield array.astype(np.complex64)
    yield array.astype(str)
    yield array.astype(object)
    yield array.astype(ml_dtypes.float8_e4m3fn)
    if IS_TORCH:
        tensor = torch.from_numpy(array)
        yield tensor.to(torch.complex64)
        yield tensor.to(torch.float8_e4m3fn)
        yield tensor.to(torch.float8_e5m2)


@no_wrapper
def test_dtypes_no_metric_takes(case):
    metric, args = used(case)
    names = ("values",) if case.name in REDUCTIONS else ("y_true", "y_pred")
    arrays = case.sample(0, 6).args
    for position, name in enumerate(names):
        for bad in bad_dtypes(np.float32(arrays[position])):
            broken = list(args)
            broken[position] = bad
            assert_refused(metric, broken, name, error=TypeError)


@no_wrapper
def test_weights_of_a_bad_dtype(case):
    metric, args = used(case)
    for bad in bad_dtypes(np.ones(6, np.float32)):
        assert_refused(metric, args, "sample_weight", bad, error=TypeError)


@no_wrapper
@pytest.mark.parametrize(
    "bad", [None, "text", object(), {}, [[1.0], [2.0, 3.0]], {"a": 1}, print]
)
def test_things_that_are_no_tensors(case, bad):
    metric, args = used(case)
    names = ("values",) if case.name in REDUCTIONS else ("y_true", "y_pred")
    for position, name in enumerate(names):
        broken = list(args)
        broken[position] = bad
        assert_refused(metric, broken, name)
    if bad is not None:
        assert_refused(metric, args, "sample_weight", bad)


@pytest.mark.parametrize("bad", [None, object(), {"a": 1}])
@pytest.mark.parametrize(
    "case", [c for c in DEFAULT_CASES if c.built_late], ids=lambda c: c.name
)
def test_things_that_are_no_tensors_before_the_first_batch(case, bad):
    """The shape of which would decide the number of columns."""
    args = [to_backend(a) for a in case.sample(0, 8).args]
    for position, name in enumerate(("y_true", "y_pred")):
        broken = list(args)
        broken[position] = bad
        metric = case.ours()
        group = kt.MetricGroup([case.ours()])
        for refused in (metric, group):
            with pytest.raises((TypeError, ValueError), match=name):
                refused.update_state(*broken)
            refused.update_state(*args)
        assert_close(metric.result(), group.result()[group.metrics[0].name], 1e-6)


@waits_for_data
@pytest.mark.host_only
@pytest.mark.parametrize("label", [-1, 7, 1000, -(2**31), 2**31 - 1, 2**40])
@pytest.mark.parametrize(
    "name", ["SparseTopKCategoricalAccuracy", "SparseCategoricalCrossentropy"]
)
def test_labels_out_of_range(name, label):
    """Labels that cannot be an index: neither a number nor a read elsewhere."""
    metric, (_, y_pred) = used(default_case(name))
    labels = np.array([0, 1, 2, 3, 4, label], np.int64)
    assert_refused(metric, (to_backend(labels), y_pred), "y_true", error=ValueError)
    assert_refused(metric, (to_backend(labels.astype(np.float64)), y_pred), "y_true")


@waits_for_data
@pytest.mark.host_only
@pytest.mark.parametrize("label", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name", ["SparseTopKCategoricalAccuracy", "SparseCategoricalCrossentropy"]
)
def test_labels_that_are_no_numbers(name, label):
    metric, (_, y_pred) = used(default_case(name))
    labels = np.float32([0, 1, 2, 3, 4, label])
    assert_refused(metric, (to_backend(labels), y_pred), "y_true", error=ValueError)


@waits_for_data
@pytest.mark.host_only
def test_bad_label_deep_in_a_large_batch():
    """The state is untouched even if most of the batch was read already."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 3, 200_000)
    y_pred = np.float32(rng.uniform(size=(200_000, 3)))
    y_true[-1] = 3
    for threads in (1, 2):
        kt.set_num_threads(threads)
        metric, _ = used(default_case("SparseCategoricalCrossentropy"))
        args = (to_backend(y_true), to_backend(y_pred))
        assert_refused(metric, args, "y_true", error=ValueError)


@pytest.mark.parametrize("label", [-1, 7, 2**40])
def test_sparse_accuracy_counts_labels_out_of_range_as_wrong(label):
    case = default_case("SparseCategoricalAccuracy")
    _, y_pred = case.sample(0, 6).args
    metric = case.ours()
    labels = np.argmax(y_pred, axis=-1)
    labels[2] = label
    metric.update_state(to_backend(labels), to_backend(y_pred))
    assert as_float(metric) == pytest.approx(5 / 6)


@pytest.mark.parametrize("name", ["BinaryAccuracy", "Precision", "Recall", *COUNTS])
def test_nan_scores_are_above_no_threshold(name):
    y_true = np.float32([1, 1, 0, 0])
    y_pred = np.float32([np.nan, 0.9, np.nan, 0.9])
    metric = getattr(kt, name)()
    metric.update_state(to_backend(y_true), to_backend(y_pred))
    expected = {
        "BinaryAccuracy": 0.5,
        "Precision": 0.5,
        "Recall": 0.5,
        "TruePositives": 1,
        "FalsePositives": 1,
        "FalseNegatives": 1,
        "TrueNegatives": 1,
    }
    assert as_float(metric) == expected[name]


@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryCrossentropy", "Mean"])
def test_nan_inputs_of_means_give_nan(name):
    case = default_case(name)
    batch = case.sample(0, 6)
    args = [a.copy() for a in batch.args]
    args[-1][3] = np.nan
    metric = case.ours()
    metric.update_state(*(to_backend(a) for a in args))
    assert np.isnan(as_float(metric))
    metric.reset_state()
    updated(metric, [batch])
    assert not np.isnan(as_float(metric))


# Constructors.


@pytest.mark.parametrize(
    "thresholds", [-0.1, 1.1, [0.5, 2.0], [0.5, None], [-1e-9], float("nan")]
)
@pytest.mark.parametrize("name", [*COUNTS, *RATIOS])
def test_thresholds_outside_the_unit_interval(name, thresholds):
    with pytest.raises((ValueError, TypeError), match=r"[Tt]hreshold"):
        getattr(kt, name)(thresholds=thresholds)


@pytest.mark.parametrize("threshold", [None, float("nan")])
@pytest.mark.parametrize("name", ["BinaryAccuracy", "BinaryIoU"])
def test_a_threshold_is_a_number(name, threshold):
    with pytest.raises(ValueError, match="`threshold`"):
        getattr(kt, name)(threshold=threshold)


@pytest.mark.parametrize("thresholds", [[-0.1], [0.5, 1.5], [float("nan")]])
def test_auc_thresholds_outside_the_unit_interval(thresholds):
    with pytest.raises(ValueError, match=r"[Tt]hreshold"):
        kt.AUC(thresholds=thresholds)


@pytest.mark.parametrize("num_thresholds", [1, 0, -5])
def test_auc_needs_two_thresholds(num_thresholds):
    with pytest.raises(ValueError, match="num_thresholds"):
        kt.AUC(num_thresholds=num_thresholds)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"curve": "DET"}, "curve|DET"),
        ({"summation_method": "simpson"}, "summation|simpson"),
        ({"num_labels": 3}, "num_labels"),
        ({"num_labels": 2.5, "multi_label": True}, "num_labels"),
        ({"num_labels": -1, "multi_label": True}, "num_labels"),
        ({"label_weights": [1.0, float("nan")]}, "label_weights"),
        ({"label_weights": [float("inf"), 1.0]}, "label_weights"),
    ],
)
def test_auc_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        kt.AUC(**kwargs)


REFUSED_ARGUMENTS = [
    *(
        (name, {bound: value}, bound)
        for name, bound in CONSTRAINED.items()
        for value in (-0.1, 1.1)
    ),
    *(
        (name, {bound: 0.5, "num_thresholds": count}, "num_thresholds")
        for name, bound in CONSTRAINED.items()
        for count in (0, -1)
    ),
    *(
        (name, {argument: value}, argument)
        for name in F_NAMES
        for argument, value in (
            ("average", "mean"),
            ("average", True),
            ("threshold", 1),
            ("threshold", 0.0),
            ("threshold", 1.5),
            ("threshold", "0.5"),
        )
    ),
    ("FBetaScore", {"beta": 1}, "beta"),
    ("FBetaScore", {"beta": 0.0}, "beta"),
    ("FBetaScore", {"beta": -1.0}, "beta"),
    ("R2Score", {"class_aggregation": "mean"}, "class_aggregation"),
    ("R2Score", {"num_regressors": -1}, "num_regressors"),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 3]}, "arget.class.id"),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [5]}, "arget.class.id"),
    ("BinaryIoU", {"target_class_ids": [2]}, "arget.class.id"),
]


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("SparseCategoricalCrossentropy", "axis", 0.5),
        ("CategoricalCrossentropy", "axis", "last"),
        ("TopKCategoricalAccuracy", "k", 2.5),
        ("TopKCategoricalAccuracy", "k", 2**70),
        ("TopKCategoricalAccuracy", "k", float("nan")),
        ("TopKCategoricalAccuracy", "k", float("inf")),
        ("Precision", "class_id", 1.5),
        ("BinaryIoU", "target_class_ids", ["1"]),
        ("BinaryIoU", "target_class_ids", 1),
        ("SparseCategoricalAccuracy", "ignore_class", {0, 1}),
    ],
)
def test_arguments_of_another_type(name, argument, value):
    with pytest.raises((TypeError, ValueError), match=f"`{argument}`"):
        getattr(kt, name)(**{argument: value})


@pytest.mark.parametrize(("name", "kwargs", "match"), REFUSED_ARGUMENTS)
def test_arguments_that_keras_refuses(name, kwargs, match):
    for module in (keras.metrics, kt):
        with pytest.raises(ValueError, match=match):
            getattr(module, name)(**kwargs)


@pytest.mark.parametrize("name", [*F_NAMES, *DEVIATION_NAMES])
def test_classes_of_matrices_take_nothing_else(name):
    for shape in ((4,), (4, 3, 2)):
        array = to_backend(np.ones(shape, np.float32))
        case = default_case(name)
        for metric in (case.keras(), case.ours()):
            with pytest.raises(ValueError, match="y_pred"):
                metric.update_state(array, array)
            assert not any(to_numpy(v).any() for v in metric.variables)


@pytest.mark.parametrize("name", [*F_NAMES, *DEVIATION_NAMES])
def test_number_of_classes_is_that_of_the_first_batch(name):
    metric, _ = used(default_case(name))
    wide = to_backend(np.ones((6, 9), np.float32))
    assert_refused(metric, (wide, wide), "y_pred|y_true", error=ValueError)
    # Counts of all classes together add up all the same.
    if name in F_NAMES:
        metric = getattr(kt, name)(average="micro")
        for columns in (3, 9):
            matrix = to_backend(np.ones((2, columns), np.float32))
            metric.update_state(matrix, matrix)
        assert as_float(metric) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", F_NAMES)
def test_f_scores_take_any_weights(name):
    """As in Keras 3.16; 3.15 adds full-rank weights up over all pairs of rows."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (6, 3)).astype(np.float32)
    scores = rng.uniform(size=(6, 3)).astype(np.float32)
    weight = rng.integers(0, 3, (6, 3)).astype(np.float32)
    metric = getattr(kt, name)(threshold=0.5)
    metric.update_state(*map(to_backend, (labels, scores, weight)))
    hits = np.float64(scores > 0.5)
    for state, wanted in (
        (metric.true_positives, hits * labels),
        (metric.false_positives, hits * (1 - labels)),
        (metric.false_negatives, (1 - hits) * labels),
        (metric.intermediate_weights, labels),
    ):
        np.testing.assert_array_equal(to_numpy(state.value), (wanted * weight).sum(0))


@every_class
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "no_such_dtype"])
def test_metric_dtypes_that_do_not_exist(case, dtype):
    with pytest.raises((ValueError, TypeError), match=r"dtype|policy|float8"):
        case.ours(dtype=dtype)


@pytest.mark.parametrize("name", [*RATIOS, *CONSTRAINED])
def test_class_id(name):
    metric = default_case(name).ours(class_id=1)
    vector = to_backend(np.float32([0.0, 1.0]))
    assert_refused(metric, (vector, vector), "class_id", error=ValueError)
    metric = default_case(name).ours(class_id=3)
    matrix = to_backend(np.float32([[0.0, 1.0, 0.5]]))
    assert_refused(metric, (matrix, matrix), "class_id")


@pytest.mark.parametrize(
    "name", ["TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy"]
)
def test_k_beyond_the_classes(name):
    """Every class is among the best then; Keras's on torch refuses it."""
    case = default_case(name)
    args = [to_backend(a) for a in case.sample(0, 6).args]
    metric = getattr(kt, name)(k=8)
    metric.update_state(*args)
    assert as_float(metric) == 1.0
    for k in (0, -1, 1.5, None, "2"):
        with pytest.raises(ValueError, match="`k`"):
            getattr(kt, name)(k=k)


@pytest.mark.parametrize("name", RATIOS)
def test_top_k_beyond_the_classes(name):
    scores, labels = np.float32([[0.0, 1.0, 0.5]]), np.float32([[1, 1, 0]])
    metric = getattr(kt, name)(top_k=4)
    metric.update_state(to_backend(labels), to_backend(scores))
    hits = {"Precision": 2 / 3, "Recall": 1.0}[name]
    assert as_float(metric) == pytest.approx(hits, abs=1e-6)
    for k in (0, -1, 1.5):
        with pytest.raises(ValueError, match="`top_k`"):
            getattr(kt, name)(top_k=k)


@pytest.mark.parametrize("flag", ["multi_label", "from_logits"])
def test_flags_are_checked_before_the_first_batch(flag):
    with pytest.raises(TypeError, match=f"`{flag}` must be True or False"):
        kt.AUC(**{"multi_label": True, flag: "float32"})


def test_multi_label_needs_two_axes():
    metric = kt.AUC(multi_label=True)
    vector = to_backend(np.float32([0.0, 1.0]))
    with pytest.raises(ValueError, match="y_pred"):
        metric.update_state(vector, vector)
    assert not metric.variables


@pytest.mark.parametrize("rows", [0, 3])
def test_matrices_without_columns_are_refused(rows):
    """Once they were a loop without end, and for AUC a division by zero."""
    empty = to_backend(np.zeros((rows, 0), "float32"))
    for metric in (
        kt.R2Score(),
        kt.F1Score(),
        kt.F1Score(average="micro"),
        kt.AUC(multi_label=True),
    ):
        with pytest.raises(ValueError, match="y_pred"):
            metric.update_state(empty, empty)


def test_multi_label_number_of_labels():
    metric = kt.AUC(multi_label=True, num_labels=3)
    matrix = to_backend(np.float32([[0.0, 1.0]]))
    assert_refused(metric, (matrix, matrix), "y_pred|y_true|label", error=ValueError)


def test_label_weights_of_another_number_of_labels():
    matrix = to_backend(np.float32([[0.0, 1.0, 1.0]]))
    metric = kt.AUC(label_weights=[1.0, 2.0])
    assert_refused(metric, (matrix, matrix), "label", error=ValueError)


def test_stateless_update_needs_every_variable():
    metric = kt.Mean()
    with pytest.raises(ValueError, match="metric_variables"):
        metric.stateless_update_state([], np.float32([1.0]))


def test_messages_say_what_arrived_and_what_is_accepted():
    metric = kt.MeanSquaredError()
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 5\)|4.*3.*4.*5") as caught:
        metric.update_state(
            to_backend(np.ones((4, 3), np.float32)),
            to_backend(np.ones((4, 5), np.float32)),
        )
    assert "y_true" in str(caught.value)
    assert "y_pred" in str(caught.value)
    with pytest.raises(TypeError, match="float32") as caught:
        metric.update_state(np.ones((2, 2), np.complex64), np.ones((2, 2)))
    assert "complex64" in str(caught.value)


def test_an_option_that_nothing_reads_is_refused():
    options = {"wrap_result": None, "treshold": 0.5}
    with pytest.raises(RuntimeError, match="unknown option treshold"):
        _native.make_plan("binary_hit", "mean", [], options)


def test_masked_arrays():
    """What they mask is no number; without any they are arrays."""
    metric, ones = kt.MeanSquaredError(), np.ones(3, np.float32)
    for at in range(3):
        batch = [ones, ones, ones]
        batch[at] = np.ma.array(ones * 3, mask=[0, 0, 1])
        name = ("y_true", "y_pred", "sample_weight")[at]
        assert_refused(
            metric, batch[:2], f"`{name}`.*masked", batch[2], error=TypeError
        )
    metric.update_state(np.ma.array(ones), np.ma.array(3 * ones, mask=[0, 0, 0]))
    assert float(metric.result()) == 4


def test_shapes_without_data_where_nothing_is_traced():
    metric, ones = kt.MeanSquaredError(), to_backend(np.ones((3, 1), np.float32))
    assert_refused(metric, (keras.KerasTensor((3, 1)), ones), "must hold data")
    assert_refused(
        metric, (ones, keras.KerasTensor((3, 1))), "must hold data.*KerasTensor"
    )


def test_what_has_a_shape_that_nobody_can_read():
    class Shapeless:
        @property
        def shape(self):
            raise RuntimeError("no sizes")

    ones = np.ones(3, np.float32)
    for metric in (kt.MeanSquaredError(), kt.AUC(multi_label=True)):
        assert_refused(
            metric, (Shapeless(), ones), "y_true.*Shapeless", error=TypeError
        )


def test_integers_that_a_backend_cannot_hold_do_not_wrap():
    """JAX has 32 bits; of pandas columns and others it took the lower half."""
    pd = pytest.importorskip("pandas")
    big = np.array([2**40, 0, 1])
    for labels in (big, pd.Series(big), pd.Index(big), pd.Series(big, dtype="Int64")):
        metric = kt.Mean()
        if BACKEND == "jax":
            with pytest.raises(TypeError, match=r"`values`.*jax_enable_x64"):
                metric.update_state(labels)
            assert float(metric.result()) == 0
        else:
            metric.update_state(labels)
            assert float(metric.total.value) == pytest.approx(2**40, rel=1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="arrays of JAX")
def test_arrays_of_jax_that_hold_no_numbers():
    import jax
    from jax.experimental.sparse import BCOO

    metric, ones = kt.MeanSquaredError(), jax.numpy.ones(3)
    deleted = ones + 0
    deleted.delete()
    assert_refused(metric, (ones, deleted), "y_pred.*deleted", error=ValueError)
    sparse = BCOO.fromdense(ones)
    assert_refused(metric, (sparse, ones), "y_true.*BCOO.*todense", error=TypeError)
    small = jax.numpy.ones(3, "int4")
    assert_refused(metric, (small, ones), "y_true.*int4", error=TypeError)
    assert_refused(metric, (ones, jax.random.key(0)), "y_pred.*key", error=TypeError)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tensors of TensorFlow")
def test_tensors_of_tensorflow_that_are_not_dense():
    import tensorflow as tf

    metric, ones = kt.MeanSquaredError(), tf.ones((3,))
    sparse = tf.sparse.from_dense(ones)
    for args in ((sparse, ones), (sparse, sparse)):
        assert_refused(metric, args, "y_true.*SparseTensor.*to_dense", error=TypeError)
    slices = tf.IndexedSlices(ones, tf.range(3))
    assert_refused(metric, (ones, slices), "y_pred.*IndexedSlices", error=TypeError)
    quantized = tf.constant([1, 0, 1], tf.quint8)
    assert_refused(metric, (quantized, ones), "y_true.*quint8", error=TypeError)
    ragged = tf.ragged.constant([[1.0], [2.0, 3.0], [4.0]])
    assert_refused(metric, (ragged, ones), "y_true.*RaggedTensor", error=ValueError)
    classes = kt.SparseCategoricalAccuracy()
    assert_refused(classes, (ones, ragged), "y_pred.*RaggedTensor", error=ValueError)


@pytest.mark.filterwarnings("always::DeprecationWarning")
@pytest.mark.parametrize("make", ["array", "chunked_array"])
def test_columns_of_arrow(make, recwarn):
    pa = pytest.importorskip("pyarrow")
    given = [[1.0, 0.0, 1.0]] if make == "chunked_array" else [1.0, 0.0, 1.0]
    labels, scores = getattr(pa, make)(given), pa.array([0.9, 0.8, 0.7])
    metric = kt.BinaryAccuracy()
    metric.update_state(labels, scores, pa.array([1.0, 2.0, 1.0]))
    assert float(metric.total.value) == 2
    assert float(metric.count.value) == 4
    # Without nulls or with them, which DLPack does not have.
    metric.update_state(pa.array([1, 0]), pa.array([0.9, None]))
    assert float(metric.count.value) == 6
    # An error inside of a native call would be lost.
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]


@pytest.fixture
def mesh_of_one(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    store = f"file://{tmp_path}/store"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.torch_only
@pytest.mark.host_only
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_the_local_part_of_a_dtensor(mesh_of_one):
    from torch.distributed.tensor import (
        DTensor,
        Partial,
        Replicate,
        Shard,
        distribute_tensor,
    )

    labels, scores = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.9, 0.8, 0.7])
    for placement in (Shard(0), Replicate()):
        metric = kt.BinaryAccuracy()
        metric.update_state(
            *(distribute_tensor(x, mesh_of_one, [placement]) for x in (labels, scores))
        )
        assert float(metric.total.value) == 2
    sums = DTensor.from_local(scores, mesh_of_one, [Partial()])
    assert_refused(metric, (labels, sums), "y_pred.*full_tensor", error=TypeError)
