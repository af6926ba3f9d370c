"""Random batches through ours, Keras's own class and the float64 reference.

Drawn are the class with its arguments, shapes, dtypes, weights, masks and how many
batches; compared are state, result, and whether and how an update is refused.

This runs a fixed number of fixed examples, as in CI. `make fuzz-differential` draws new
ones, round after round on both backends, until one fails or somebody stops it;
`HYPOTHESIS_PROFILE=fuzz` is one such round. A failure is kept in `.hypothesis/` and
tried first the next time.
"""

import re

import keras
import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import keras_tally as kt
from cases import (
    CASES,
    CONFUSION_NAMES,
    CONSTRAINED,
    DEVIATION_NAMES,
    F_NAMES,
    IOU_NAMES,
    Batch,
    default_case,
)
from references import merge_mask
from support import (
    BACKEND,
    IS_TORCH,
    LABEL_DTYPES,
    ROUNDING,
    SCORE_DTYPES,
    as_float,
    assert_close,
    assert_states_close,
    keras_variables,
    reference_after,
    result_dtype,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

# What Keras may be off by: it computes in the dtype of the scores and adds in
# float32, and a mean of a few values cancels little.
KERAS_ERROR = {"float64": 1e-5, "float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}
# These round nothing on the way, so that even Keras must agree closely.
COMPARED_IN_FLOAT32 = (
    *CONFUSION_NAMES,
    *F_NAMES,
    *IOU_NAMES,
    *DEVIATION_NAMES,
    "Accuracy",
    "BinaryAccuracy",
)
# Of these Keras ignores the mask (of Mean and Sum where there are no weights).
NOT_MASKED_BY_KERAS = (
    *CONFUSION_NAMES,
    *F_NAMES,
    *IOU_NAMES,
    *DEVIATION_NAMES,
    "RootMeanSquaredError",
    "Mean",
    "Sum",
)
# Keras brings their constants (epsilon, 0.5, log 2) into an integer dtype.
NOT_IN_INTEGERS = (
    "Huber",
    "MeanAbsolutePercentageError",
    "LogCoshError",
    "KLDivergence",
    "Poisson",
)
# Keras computes these in the dtype of the scores, and in half precision the
# logarithms, overflows and cancellations leave nothing to compare with.
NOT_IN_HALF_PRECISION = (
    "MeanMetricWrapper",  # computes whatever the user's function does
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "LogCoshError",
    "CosineSimilarity",
    "PearsonCorrelation",
    "ConcordanceCorrelation",
    "KLDivergence",
    "Poisson",
)
# A value for each element, where others have one for each row.
ELEMENTWISE = (
    "BinaryIoU",
    "Mean",
    "Sum",
    "Accuracy",
    "BinaryAccuracy",
    "RootMeanSquaredError",
)
# Classes that bring ranks together by a trailing axis of 1.
RANK_MATCHING = (
    "MeanSquaredError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "LogCoshError",
    "CosineSimilarity",
    "PearsonCorrelation",
    "ConcordanceCorrelation",
    "Huber",
    "RootMeanSquaredError",
    "Accuracy",
    "BinaryAccuracy",
    "Precision",
    "PrecisionAtRecall",
    "AUC",
    "FalsePositives",
)
# These do not: (n,) and (n, 1) broadcast to (n, n).
BROADCASTING = (
    "Hinge",
    "SquaredHinge",
    "CategoricalHinge",
    "KLDivergence",
    "Poisson",
)


def value_shape(case, full):
    """The shape of the values that a batch with scores of shape `full` gives."""
    takes_ids = case.kwargs.get("sparse_y_pred", case.name in ("IoU", "MeanIoU"))
    if case.name in ELEMENTWISE or takes_ids:
        return full
    # What holds the classes, or what the function averages over, is gone.
    axes = np.atleast_1d(case.kwargs.get("axis", -1)) % len(full)
    return tuple(n for i, n in enumerate(full) if i not in axes)


def weight_shapes(case, args):
    """Shapes of sample_weight that Keras accepts for these inputs."""
    full = np.shape(args[-1])
    if case.name in CONFUSION_NAMES:
        shapes = [(), full[:1], (1,)] if len(full) < 3 else [(), (1,), full[:-1]]
        if "class_id" not in case.kwargs:
            shapes += [full, (*full[:-1], 1)]
        return shapes
    if case.name in F_NAMES:
        return [full[:1], (1,)]
    if case.name in DEVIATION_NAMES:
        return [(), full[:1], (1,), (*full[:1], 1), (1, 1), full]
    values = value_shape(case, full)
    if case.name in IOU_NAMES:
        return [(), (1,), values]
    shapes = [(), values] + [values[:rank] for rank in range(1, len(values))]
    if values:
        shapes += [(1,) * len(values), (*values[:-1], 1)]
    return shapes


@st.composite
def runs(draw, case):
    """A few batches of one kind: shapes, dtypes, weights and masks drawn."""
    label_dtype = draw(st.sampled_from(LABEL_DTYPES))
    # The sigmoid, too, is no longer the same function in half precision.
    no_halves = case.kwargs.get("from_logits") or case.name in NOT_IN_HALF_PRECISION
    score_dtype = draw(st.sampled_from(SCORE_DTYPES[2:] if no_halves else SCORE_DTYPES))
    rank = draw(st.sampled_from(case.ranks))
    batches = []
    weighted = draw(st.booleans())
    masked = draw(st.booleans()) and (
        "Categorical" not in case.name or case.name == "CategoricalHinge"
    )
    for _ in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.integers(1, 6)) for _ in range(rank))
        seed = draw(st.integers(0, 2**32 - 1))
        batch = case.batch(seed, shape, label_dtype, score_dtype)
        rng = np.random.default_rng(seed)
        weight = mask = None
        if weighted:
            weight_shape = draw(st.sampled_from(weight_shapes(case, batch.args)))
            weight = rng.integers(0, 9, weight_shape).astype(np.float32) / 4
        masked_shape = value_shape(case, np.shape(batch.args[-1]))
        if masked and masked_shape:
            mask = rng.uniform(size=masked_shape) < 0.7
        batches.append(batch._replace(weight=weight, mask=mask))
    return label_dtype, score_dtype, batches


def for_keras(case, batch):
    """The batch with what Keras's class does not see of it as a part of the weights."""
    weight, mask = batch.weight, batch.mask
    if case.name in NOT_MASKED_BY_KERAS:
        weight, mask = merge_mask(weight, mask), None
    if case.kwargs.get("ignore_class") is not None and weight is None:
        weight = np.ones(value_shape(case, np.shape(batch.args[-1])), np.float32)
    if weight is not None:
        weight = np.float32(weight)
    return batch._replace(weight=weight, mask=mask)


def keras_accepts(metric, batches):
    """The metric after all batches, or None where Keras refuses one."""
    try:
        return updated(metric, batches)
    except Exception as error:
        note(f"keras: {type(error).__name__}: {error}")
        return None


def refusal_of(metric, batches):
    """The error with which our metric refuses one of the batches, or None.

    Keras's own error has whatever type the backend's operation raises; ours is a
    ValueError for anything that is wrong with shapes or values, as where Keras
    checks them itself.
    """
    try:
        updated(metric, batches)
    except ValueError as error:
        return error
    return None


def keras_error(case, score_dtype):
    if case.name in COMPARED_IN_FLOAT32:
        return KERAS_ERROR["float32"]
    return KERAS_ERROR[score_dtype]


def keras_result_error(case, error, reference):
    """What Keras's result may be off by where its state is off by `error`."""
    if case.name not in DEVIATION_NAMES:
        return error
    # Keras takes the variation as a difference of two sums in float32.
    variation = reference.variation()
    lost = reference.squared_sum() / np.maximum(variation, 1e-30)
    share = reference.residual() / np.maximum(variation, 1e-30)
    return 8 * error * max(1.0, *np.nan_to_num(lost * (1 + share)))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
@given(data=st.data())
def test_random_runs(case, data):
    label_dtype, score_dtype, batches = data.draw(runs(case))
    theirs = keras_accepts(case.keras(), [for_keras(case, b) for b in batches])
    ours = case.ours()
    if theirs is None:
        # Ours aligns all weights at the leading axes.
        may_answer = any(b.weight is not None or b.mask is not None for b in batches)
        if "bfloat16" in (label_dtype, score_dtype) and not IS_TORCH:
            may_answer = True  # ml_dtypes has gaps that Keras falls into
        refusal = refusal_of(ours, batches)
        if refusal is not None:
            note(f"ours: {refusal}")
            return
        # Keras multiplies weights by the mask in place, so it cannot broadcast them
        # up; that is no reason to refuse, but the answer has to be the right one.
        assert may_answer, "Keras refuses this"
        reference = reference_after(case.name, case.kwargs, batches)
        assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)
        return
    updated(ours, batches)
    reference = reference_after(case.name, case.kwargs, batches)
    assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)
    error = case.tolerance + ROUNDING["float32"]
    assert_close(ours.result(), reference.result(), error, 1e-6)
    assert tuple(ours.result().shape) == tuple(theirs.result().shape)
    if score_dtype == "float64" and np.isnan(reference.result()).any():
        # Keras takes means of float64 in float32: a constant row seems to vary.
        assert case.name in ("PearsonCorrelation", *DEVIATION_NAMES)
        return
    error = keras_error(case, score_dtype)
    # Keras 3.15 counts entries; constant columns are NaN.
    if case.name in DEVIATION_NAMES:
        mine, others = (
            {k: v for k, v in state(m).items() if k != "num_samples"}
            for m in (ours, theirs)
        )
        assert_states_close(mine, others, error, error)
        return
    assert_states_close(state(ours), case.keras_state(state(theirs)), error, error)
    error = keras_result_error(case, error, reference)
    if error < 1e3:  # else Keras divides by the rounding error of a zero
        assert_close(ours.result(), theirs.result(), error, error)


@given(
    labels=st.sampled_from(["(n,)", "(n,1)", "(n,t)", "(n,t,1)"]),
    scores=st.sampled_from(["(n,)", "(n,1)", "(n,t)", "(n,t,1)"]),
    case=st.sampled_from(
        [
            c
            for c in CASES
            if c.name in RANK_MATCHING
            and not {"label_weights", "multi_label", "class_id", "axis"} & set(c.kwargs)
        ]
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_trailing_axis_of_one(labels, scores, case, seed):
    """Ranks that differ by a trailing 1 are brought together as in Keras."""
    shapes = {"(n,)": (4,), "(n,1)": (4, 1), "(n,t)": (4, 3), "(n,t,1)": (4, 3, 1)}
    if ("t" in labels) != ("t" in scores):
        return
    y_true = case.batch(seed, shapes[labels]).args[0]
    y_pred = case.batch(seed, shapes[scores]).args[1]
    batches = [Batch((y_true, y_pred))]
    theirs, ours = updated(case.keras(), batches), updated(case.ours(), batches)
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-6)
    reference = reference_after(case.name, case.kwargs, batches)
    assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)


@given(
    shapes=st.sampled_from(
        [((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 3)), ((4, 3), (1, 3))]
    ),
    case=st.sampled_from([c for c in CASES if c.name in BROADCASTING]),
    seed=st.integers(0, 2**32 - 1),
)
def test_plain_broadcasting(shapes, case, seed):
    """Nothing is squeezed, so that (n,) against (n, 1) compares all with all."""
    rng = np.random.default_rng(seed)
    y_true = np.float32(rng.integers(0, 2, shapes[0]))
    y_pred = np.float32(rng.uniform(0.1, 0.9, shapes[1]))
    batches = [Batch((y_true, y_pred))]
    theirs, ours = updated(case.keras(), batches), updated(case.ours(), batches)
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-6)
    reference = reference_after(case.name, case.kwargs, batches)
    assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)


@pytest.mark.parametrize("name", ["Hinge", "SquaredHinge"])
@given(seed=st.integers(0, 2**32 - 1), weighted=st.booleans())
def test_hinge_labels_of_a_whole_batch(name, seed, weighted):
    """0 becomes -1 only in batches without any other number than 0 and 1."""
    rng = np.random.default_rng(seed)
    batches = []
    for choice in ((0, 1), (-1, 0, 1), (-1, 1), (0, 0.5, 1), (1,), (0,)):
        y_true = np.float32(rng.choice(choice, (5, 2)))
        weight = np.float32(rng.integers(0, 3, 5)) if weighted else None
        y_pred = np.float32(rng.normal(size=(5, 2)))
        batches.append(Batch((y_true, y_pred), weight))
    theirs = updated(getattr(keras.metrics, name)(), batches)
    ours = updated(getattr(kt, name)(), batches)
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-6)
    reference = reference_after(name, {}, batches)
    assert_states_close(state(ours), reference.state(), 1e-12)


# On NumPy Keras's `normalize` takes axis 0 for the last one: see docs/differences.md.
@pytest.mark.parametrize(
    "name",
    ["PearsonCorrelation", "ConcordanceCorrelation"]
    + (["CosineSimilarity"] if IS_TORCH else []),
)
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 3, 2)])
def test_first_axis(name, shape):
    """Along axis 0 a whole batch gives one value for each column."""
    batches = [default_case(name).batch(seed, shape) for seed in (0, 1)]
    ours = updated(getattr(kt, name)(axis=0), batches)
    theirs = updated(getattr(keras.metrics, name)(axis=0), batches)
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-6)
    reference = reference_after(name, {"axis": 0}, batches)
    assert_states_close(state(ours), reference.state(), 1e-12)
    assert_close(ours.result(), theirs.result(), 1e-5, 1e-6)


@pytest.mark.parametrize("name", ["PearsonCorrelation", "ConcordanceCorrelation"])
def test_constant_rows_as_in_keras(name):
    """Pearson has no answer, concordance is 0 but for equal constants."""
    y_true = np.float32([[1, 1, 1], [0, 1, 2], [2, 2, 2]])
    y_pred = np.float32([[0, 1, 2], [3, 3, 3], [2, 2, 2]])
    for row in range(3):
        batches = [Batch((y_true[row : row + 1], y_pred[row : row + 1]))]
        ours = updated(getattr(kt, name)(), batches)
        theirs = updated(getattr(keras.metrics, name)(), batches)
        assert_close(ours.result(), theirs.result(), 1e-6)
        assert np.isnan(as_float(ours)) == (name == "PearsonCorrelation")


@given(
    seed=st.integers(0, 2**32 - 1),
    threshold=st.sampled_from([None, 0.5]),
    average=st.sampled_from([None, "micro", "macro", "weighted"]),
)
def test_f_scores_of_soft_labels_and_ties(seed, threshold, average):
    """Labels may be any numbers; all that tie for the best score are predicted."""
    rng = np.random.default_rng(seed)
    y_true = np.float32(rng.uniform(size=(6, 3)))
    y_pred = np.float32(rng.integers(-1, 3, (6, 3))) / 2
    y_pred[0], y_pred[1] = 0, 1e-10  # no prediction at all
    batches = [Batch((y_true, y_pred), np.float32(rng.integers(0, 3, 6)) / 2)] * 2
    kwargs = {"threshold": threshold, "average": average}
    ours = updated(kt.FBetaScore(beta=0.5, **kwargs), batches)
    theirs = updated(keras.metrics.FBetaScore(beta=0.5, **kwargs), batches)
    reference = reference_after("FBetaScore", {"beta": 0.5, **kwargs}, batches)
    assert_states_close(state(ours), reference.state(), 1e-12)
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-5)
    assert_close(ours.result(), reference.result(), 1e-6)
    assert_close(ours.result(), theirs.result(), 1e-5, 1e-5)


@pytest.mark.parametrize("name", list(CONSTRAINED))
@given(
    seed=st.integers(0, 2**32 - 1),
    num_thresholds=st.sampled_from([1, 2, 3, 10, 200]),
    value=st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.7, 0.9, 1.0]),
    count=st.integers(1, 40),
)
def test_rates_that_just_meet_the_bound(name, seed, num_thresholds, value, count):
    """0.7 out of ten, against a bound of 0.7: both are float32 numbers."""
    rng = np.random.default_rng(seed)
    batch = Batch((np.float32(rng.integers(0, 2, count)), rng.uniform(size=count)))
    kwargs = {CONSTRAINED[name]: value, "num_thresholds": num_thresholds}
    ours = updated(getattr(kt, name)(**kwargs), [batch])
    theirs = updated(getattr(keras.metrics, name)(**kwargs), [batch])
    assert_states_close(state(ours), state(theirs), 0)
    assert_close(ours.result(), theirs.result(), 1e-6)
    reference = reference_after(name, kwargs, [batch])
    assert_close(ours.result(), reference.result(), 1e-6)


def test_iou_counts_and_matrix_give_the_same_result():
    batches = [default_case("MeanIoU").batch(seed, (7, 5), "int32") for seed in (0, 1)]
    for kwargs in ({}, {"dtype": "float32"}, {"ignore_class": 2}):
        results = [
            as_float(
                updated(
                    kt.MeanIoU(num_classes=4, per_class_counts=counts, **kwargs),
                    batches,
                )
            )
            for counts in (False, True)
        ]
        assert results[0] == results[1]


@pytest.mark.parametrize("weight_dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("dtype", [None, "int32", "int64", "float32", "float64"])
def test_iou_weights_take_the_dtype_of_the_metric(dtype, weight_dtype):
    """Under an integer dtype (the default) 0.5 becomes 0 and 1.5 becomes 1."""
    batch = default_case("MeanIoU").batch(0, (30,), "int32")
    weight = (np.arange(30) % 5 / 2).astype(weight_dtype)
    kwargs = {"num_classes": 4} if dtype is None else {"num_classes": 4, "dtype": dtype}
    batches = [batch._replace(weight=weight)]
    ours = updated(kt.MeanIoU(**kwargs), batches)
    theirs = updated(keras.metrics.MeanIoU(**kwargs), batches)
    reference = reference_after("MeanIoU", kwargs, batches)
    assert_states_close(state(ours), state(theirs), 0)
    assert_states_close(state(ours), reference.state(), 0)
    assert_close(ours.result(), theirs.result(), 1e-6)


@pytest.mark.parametrize("y", [[-0.5, 0.5, 1.75, 3.99, 4.0], [-1, 0, 3, 4, 2**40]])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_iou_class_ids_that_are_no_class(y, dtype):
    """Fractions are cut off; what is below 0 or too large is not counted."""
    y = np.array(y)
    others = np.zeros_like(y)
    kwargs = {"num_classes": 4} if dtype is None else {"num_classes": 4, "dtype": dtype}
    for args in ((y, others), (others, y)):
        ours = updated(kt.MeanIoU(**kwargs), [Batch(args)])
        reference = reference_after("MeanIoU", kwargs, [Batch(args)])
        assert_states_close(state(ours), reference.state(), 0)
        if y.max() < 2**31 or dtype:  # Keras takes class ids modulo 2**32
            theirs = updated(keras.metrics.MeanIoU(**kwargs), [Batch(args)])
            assert_states_close(state(ours), state(theirs), 0)


def test_iou_threshold_itself_is_class_1():
    y_pred = np.float32([0.1, np.nextafter(np.float32(0.3), 0), 0.3, 0.9])
    batches = [Batch((np.ones(4, np.int32), y_pred))]
    ours = updated(kt.BinaryIoU(threshold=0.3), batches)
    theirs = updated(keras.metrics.BinaryIoU(threshold=0.3), batches)
    assert_states_close(state(ours), state(theirs), 0)
    assert state(ours)["total_confusion_matrix"].tolist() == [[0, 0], [2, 2]]


# What an error must name: the argument that is wrong.
ARGUMENT = re.compile(
    r"\b(y_true|y_pred|sample_weight|values|k|top_k|class_id|label_weights)\b"
)
SHAPES = [(), (1,), (3,), (3, 1), (3, 4), (1, 4), (3, 4, 1), (3, 4, 2), (2, 4), (5,)]


@pytest.mark.filterwarnings("ignore:In loss categorical_crossentropy:SyntaxWarning")
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name != "MeanMetricWrapper"], ids=lambda c: c.id
)
@given(data=st.data())
def test_any_shapes_agree_or_raise(case, data):
    """Whatever the shapes: Keras's answer or a clear error, never another number."""
    draw = data.draw
    first, second = (draw(st.sampled_from(SHAPES)) for _ in range(2))
    weight_shape = draw(st.sampled_from([None, *SHAPES]))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    # Labels 0 and 1 fit every class; scores without ties leave no choice.
    y_true = rng.integers(0, 2, first).astype(np.float32)
    y_pred = np.float32(rng.permutation(np.prod(second, dtype=int)) + 1) / 32
    args = (y_pred.reshape(second),)
    if case.name not in ("Mean", "Sum"):
        args = (y_true, *args)
    weight = None
    if weight_shape is not None:
        weight = rng.integers(0, 9, weight_shape).astype(np.float32) / 4
    batches = [Batch(args, weight)]
    theirs, ours = keras_accepts(case.keras(), batches), case.ours()
    before = state_bits(ours)
    refusal = refusal_of(ours, batches)
    if refusal is not None:
        note(f"ours: {refusal}")
        assert ARGUMENT.search(str(refusal)), refusal
        assert case.built_late or state_bits(ours) == before
        assert not any(to_numpy(v).any() for v in ours.variables)
        return
    if theirs is None and () in (first, second):
        return  # single numbers are no less clear to us than to Python
    ranks = {"k", "top_k"} & case.kwargs.keys()
    beyond = weight is not None and case.name in NOT_MASKED_BY_KERAS
    pairs = case.name in F_NAMES and np.ndim(weight) > 1
    ignores = "ignore_class" in case.kwargs
    if (theirs is None and (beyond or ignores or ranks)) or pairs or ignores:
        # Weights of leading axes, k beyond the classes; Keras counts ignored rows as
        # zeros, and 3.15 adds weights of F-scores up over all pairs of rows.
        reference = reference_after(case.name, case.kwargs, batches)
        assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)
        return
    assert theirs is not None, "Keras refuses these shapes"
    theirs = case.keras_state(state(theirs))
    if case.name in DEVIATION_NAMES and weight is not None:
        theirs["num_samples"] = state(ours)["num_samples"]  # see the references
    assert_states_close(state(ours), theirs, 1e-5, 1e-5)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 7))
def test_top_k_ties_and_nan(seed, k):
    """Tied scores are hits; NaN takes the place of a largest score."""
    rng = np.random.default_rng(seed)
    y_pred = rng.integers(0, 3, (6, 7)).astype(np.float32)
    y_pred[rng.uniform(size=y_pred.shape) < 0.15] = np.nan
    y_true = rng.integers(0, 7, 6).astype(np.int32)
    batches = [Batch((y_true, y_pred))]
    name = "SparseTopKCategoricalAccuracy"
    theirs = updated(keras.metrics.SparseTopKCategoricalAccuracy(k=k), batches)
    ours = updated(kt.SparseTopKCategoricalAccuracy(k=k), batches)
    assert as_float(ours) == as_float(theirs)
    assert_states_close(
        state(ours), reference_after(name, {"k": k}, batches).state(), 0
    )


@pytest.mark.parametrize("name", ["SparseCategoricalAccuracy", "CategoricalAccuracy"])
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 70))
def test_argmax_ties_and_nan(name, seed, classes):
    """The first largest score wins; NaN counts as largest, as in torch and NumPy."""
    rng = np.random.default_rng(seed)
    y_pred = rng.integers(0, 4, (9, classes)).astype(np.float32)
    y_pred[rng.uniform(size=y_pred.shape) < 0.03] = np.nan
    y_pred[rng.uniform(size=y_pred.shape) < 0.03] = -np.inf
    y_true = rng.integers(0, classes, 9)
    if name == "CategoricalAccuracy":
        y_true = np.eye(classes, dtype=np.float32)[y_true]
    batches = [Batch((y_true, y_pred))]
    theirs = updated(getattr(keras.metrics, name)(), batches)
    ours = updated(getattr(kt, name)(), batches)
    assert as_float(ours) == as_float(theirs)


@pytest.mark.parametrize("name", ["Precision", "Recall"])
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 7))
def test_confusion_top_k_ties_go_to_the_lowest_index(name, seed, k):
    rng = np.random.default_rng(seed)
    y_pred = rng.integers(0, 3, (6, 7)).astype(np.float32) / 2
    y_true = rng.integers(0, 2, (6, 7)).astype(np.float32)
    batches = [Batch((y_true, y_pred))]
    ours = updated(getattr(kt, name)(top_k=k), batches)
    assert_states_close(
        state(ours), reference_after(name, {"top_k": k}, batches).state(), 0
    )


@pytest.mark.parametrize("name", ["Precision", "Recall", "TruePositives"])
def test_thresholds_in_buckets_as_in_keras(name):
    """Evenly spaced thresholds go through Keras's float32 formula, bit by bit."""
    count = 200
    thresholds = [i / (count - 1) for i in range(count)]
    steps = np.arange(count, dtype=np.float32) / np.float32(count - 1)
    near = [np.nextafter(steps, np.float32(side)) for side in (-1, 2)]
    y_pred = np.concatenate([steps, *near, steps.astype(np.float16)])
    y_true = np.float32(np.arange(len(y_pred)) % 3 > 0)
    batches = [Batch((y_true, np.float32(y_pred)))]
    kwargs = {"thresholds": thresholds}
    ours = updated(getattr(kt, name)(**kwargs), batches)
    theirs = updated(getattr(keras.metrics, name)(**kwargs), batches)
    assert_states_close(state(ours), state(theirs), 0)


@pytest.mark.parametrize("count", [3, 33, 101, 200, 1000])
@pytest.mark.parametrize("score_dtype", ["float16", "float32", "float64"])
def test_auc_buckets_as_in_keras(count, score_dtype):
    """Also scores in float64, which Keras rounds to float32 first."""
    steps = np.arange(count) / (count - 1)
    rng = np.random.default_rng(count)
    y_pred = np.concatenate([steps, rng.uniform(size=500)]).astype(score_dtype)
    y_true = np.float32(rng.integers(0, 2, len(y_pred)))
    batches = [Batch((y_true, y_pred))]
    ours = updated(kt.AUC(num_thresholds=count), batches)
    theirs = updated(keras.metrics.AUC(num_thresholds=count), batches)
    assert_states_close(state(ours), state(theirs), 0)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("score_dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["BinaryAccuracy", "Precision"])
def test_score_equal_to_the_threshold_is_not_above(name, threshold, score_dtype):
    """The threshold is a float32 number, to which float64 scores are compared."""
    scores = np.array([threshold, np.float32(threshold)]).astype(score_dtype)
    step = scores.dtype.type(2)
    y_pred = np.concatenate([scores, np.nextafter(scores, step)])
    batches = [Batch((np.ones(len(y_pred), np.float32), y_pred))]
    kwargs = {"threshold" if name == "BinaryAccuracy" else "thresholds": threshold}
    ours = updated(getattr(kt, name)(**kwargs), batches)
    if score_dtype != "float16":  # torch rounds the threshold to float16 then
        reference = reference_after(name, kwargs, batches)
        assert_states_close(state(ours), reference.state(), 0)
    if score_dtype == "float64" and not IS_TORCH:
        return  # Keras's NumPy backend rounds every float64 array to float32
    theirs = updated(getattr(keras.metrics, name)(**kwargs), batches)
    assert_states_close(state(ours), state(theirs), 0)


@given(seed=st.integers(0, 2**32 - 1), weighted=st.booleans())
def test_sparse_crossentropy_masks_and_ignored_class(seed, weighted):
    """Ignored rows count no more than masked ones."""
    case = default_case("SparseCategoricalCrossentropy")
    kwargs = {"ignore_class": 1}
    rng = np.random.default_rng(seed)
    batch = case.batch(seed, (5, 3), "int32")
    batch = batch._replace(mask=rng.uniform(size=(5, 3)) < 0.6)
    if weighted:
        batch = batch._replace(weight=rng.integers(0, 5, (5, 3)).astype(np.float32))
    ours = updated(kt.SparseCategoricalCrossentropy(**kwargs), [batch])
    theirs = updated(keras.metrics.SparseCategoricalCrossentropy(**kwargs), [batch])
    reference = reference_after(case.name, kwargs, [batch])
    assert_states_close(state(ours), state(theirs), 1e-5, 1e-6)
    assert_states_close(state(ours), reference.state(), case.tolerance, 1e-12)


@pytest.mark.parametrize("ignore_class", [-1, 255, 0])
def test_ignored_class_may_be_out_of_range(ignore_class):
    y_true = np.array([0, ignore_class, 2, ignore_class], np.int32)
    y_pred = np.float32([[0.2, 0.3, 0.5]] * 4)
    # Without weights, Keras counts ignored rows as zeros.
    batches = [Batch((y_true, y_pred), np.ones(4, np.float32))]
    kwargs = {"ignore_class": ignore_class}
    ours = updated(kt.SparseCategoricalCrossentropy(**kwargs), batches)
    theirs = updated(keras.metrics.SparseCategoricalCrossentropy(**kwargs), batches)
    assert_states_close(state(ours), state(theirs), 1e-6)


@pytest.mark.torch_only
@pytest.mark.parametrize("axis", [1, -2])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "name", ["CategoricalCrossentropy", "SparseCategoricalCrossentropy"]
)
def test_class_axis(name, axis, from_logits):
    """Classes on another axis than the last one (NumPy's Keras cannot)."""
    y_true, y_pred = default_case(name).batch(3, (4, 5)).args
    y_pred = np.moveaxis(y_pred, -1, axis)
    if name == "CategoricalCrossentropy":
        y_true = np.moveaxis(y_true, -1, axis)
    weight = np.float32([[0.5, 1.0, 0.0, 2.0, 1.0]] * 4)
    kwargs = {"axis": axis, "from_logits": from_logits}
    for batch in (Batch((y_true, y_pred)), Batch((y_true, y_pred), weight)):
        ours = updated(getattr(kt, name)(**kwargs), [batch])
        theirs = updated(getattr(keras.metrics, name)(**kwargs), [batch])
        assert_states_close(state(ours), state(theirs), 1e-5)
        reference = reference_after(name, kwargs, [batch])
        assert_states_close(state(ours), reference.state(), 1e-6)


# On NumPy Keras rounds every float64 array to float32.
@pytest.mark.parametrize(
    "score_dtype", ["float32", "float64"] if IS_TORCH else ["float32"]
)
@pytest.mark.parametrize(
    "name", ["BinaryCrossentropy", "SparseCategoricalCrossentropy"]
)
def test_saturated_probabilities_as_in_keras(name, score_dtype):
    """Scores of exactly 0 and 1 meet the same clipping as in Keras."""
    if name == "BinaryCrossentropy":
        y_true = np.float32([[0], [1], [0], [1], [0]])
        y_pred = np.array([[0], [1], [1], [0], [1 - 2**-24]])
    else:
        y_true = np.int32([0, 1, 1])
        y_pred = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    batches = [Batch((y_true, y_pred.astype(score_dtype)))]
    ours = updated(getattr(kt, name)(), batches)
    theirs = updated(getattr(keras.metrics, name)(), batches)
    assert_states_close(state(ours), state(theirs), 1e-5)


def test_binary_crossentropy_of_large_logits_is_exact():
    """No clipping of the probability: on NumPy Keras stops at 16.1."""
    y_pred = np.float32([[-200.0], [200.0], [50.0], [-0.001]])
    y_true = np.float32([[1.0], [0.0], [1.0], [0.0]])
    batches = [Batch((y_true, y_pred))]
    ours = updated(kt.BinaryCrossentropy(from_logits=True), batches)
    small = float(np.log1p(np.exp(-50.0)) + np.log1p(np.exp(np.float64(y_pred[3, 0]))))
    assert_close(state(ours)["total"], 400.0 + small, 1e-9)
    if IS_TORCH:
        theirs = updated(keras.metrics.BinaryCrossentropy(from_logits=True), batches)
        assert_close(ours.result(), theirs.result(), 1e-6)


@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError"])
def test_unsigned_integers_do_not_wrap(name):
    """In Keras 250 - 5 is taken modulo 256."""
    batches = [Batch((np.uint8([[250], [5]]), np.uint8([[5], [250]])))]
    expected = 245.0**2 if name == "MeanSquaredError" else 245.0
    assert as_float(updated(getattr(kt, name)(), batches)) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_integer_scores(case):
    """Integer y_pred, where Keras takes it."""
    if "Crossentropy" in case.name or case.kwargs.get("from_logits"):
        pytest.skip("integers are no probabilities")
    batch = case.batch(0, case.shape(6), "int32", "int64")
    ours = updated(case.ours(), [batch])
    reference = reference_after(case.name, case.kwargs, [batch])
    assert_states_close(state(ours), reference.state(), case.tolerance)
    if case.name in NOT_IN_INTEGERS or "top_k" in case.kwargs:
        return  # integers make ties
    theirs = updated(case.keras(), [batch])
    theirs = case.keras_state(state(theirs))
    assert_states_close(state(ours), theirs, 1e-6, 1e-6)


def test_large_integer_labels_are_compared_exactly():
    """Ids beyond 2**24 and 2**53 that float32 or float64 would take for equal."""
    for base, dtype in ((2**24, np.int32), (2**53, np.int64)):
        y_true = np.array([base, base + 1, base + 1, base], dtype)
        y_pred = np.array([base, base + 1, base, base + 1], dtype)
        assert as_float(updated(kt.Accuracy(), [Batch((y_true, y_pred))])) == 0.5
        scores = np.stack([y_pred, y_pred - 8], axis=-1)
        ids = kt.SparseTopKCategoricalAccuracy(k=2, from_sorted_ids=True)
        assert as_float(updated(ids, [Batch((y_true, scores))])) == 0.5


def test_regression_keeps_the_precision_of_labels():
    """y_true in float64 against y_pred in float16 is not rounded to float16."""
    y_true, y_pred = np.array([[2049.25]]), np.float16([[2048]])
    metric = updated(kt.MeanAbsoluteError(), [Batch((y_true, y_pred))])
    assert as_float(metric) == 1.25


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_integer_dtype_of_a_reduction(name):
    if name == "Mean":
        pytest.skip("Keras gives no meaning to the mean in an integer dtype")
    ours, theirs = kt.Sum(dtype="int32"), keras.metrics.Sum(dtype="int32")
    for metric in (ours, theirs):
        metric.update_state(to_backend(np.int32([1, 2, 3])))
    assert to_numpy(ours.result()).dtype == to_numpy(theirs.result()).dtype
    assert as_float(ours) == as_float(theirs) == 6


@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_floatx_rules_the_result(floatx):
    keras.config.set_floatx(floatx)
    try:
        for name in ("Mean", "Precision", "AUC", "TruePositives"):
            case = default_case(name)
            batch = case.sample(0, 8)
            ours, theirs = updated(case.ours(), [batch]), updated(case.keras(), [batch])
            # Keras divides in float32 where floatx is float64.
            if floatx == "float16":
                assert result_dtype(ours) == result_dtype(theirs)
            else:
                assert result_dtype(ours) == floatx
            assert {v.dtype for v in keras_variables(ours).values()} == {"float64"}
    finally:
        keras.config.set_floatx("float32")


def test_backend_is_the_one_asked_for():
    assert BACKEND in ("torch", "numpy")
