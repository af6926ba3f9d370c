"""AUC: every curve and summation, NaN, labels, and the exact area as the limit."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import keras_tally as kt
import references
from cases import Batch
from support import (
    as_float,
    assert_close,
    assert_states_close,
    reference_after,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

CURVES = ("ROC", "PR", "PRGAIN")
SUMMATIONS = ("interpolation", "minoring", "majoring")


def scored(rng, count, separation=1.0, labels=()):
    """Labels and scores in (0, 1) of a classifier that is not perfect."""
    y_true = rng.integers(0, 2, (count, *labels))
    logits = rng.normal(size=y_true.shape) + separation * (y_true - 0.5)
    return np.float32(y_true), np.float32(1 / (1 + np.exp(-logits)))


@pytest.mark.parametrize("summation_method", SUMMATIONS)
@pytest.mark.parametrize("curve", CURVES)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_thresholds=st.sampled_from([2, 3, 4, 20, 200]),
    count=st.integers(1, 60),
    weighted=st.booleans(),
)
def test_curves_and_summations(
    curve, summation_method, seed, num_thresholds, count, weighted
):
    rng = np.random.default_rng(seed)
    weight = np.float32(rng.integers(0, 4, count)) / 2 if weighted else None
    batches = [Batch(scored(rng, count), weight), Batch(scored(rng, 5, -1.0))]
    kwargs = {
        "curve": curve,
        "summation_method": summation_method,
        "num_thresholds": num_thresholds,
    }
    ours = updated(kt.AUC(**kwargs), batches)
    theirs = updated(keras.metrics.AUC(**kwargs), batches)
    reference = reference_after("AUC", kwargs, batches)
    assert_states_close(state(ours), reference.state(), 0)
    assert_close(ours.result(), reference.result(), 1e-6, 1e-6)
    assert_close(ours.result(), theirs.result(), 1e-4, 1e-4)


@pytest.mark.parametrize("summation_method", SUMMATIONS)
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_only(curve, summation_method, only):
    rng = np.random.default_rng(0)
    y_pred = np.float32(rng.uniform(size=20))
    batches = [Batch((np.full(20, only, np.float32), y_pred))]
    kwargs = {"curve": curve, "summation_method": summation_method}
    ours = updated(kt.AUC(**kwargs), batches)
    theirs = updated(keras.metrics.AUC(**kwargs), batches)
    assert_close(ours.result(), theirs.result(), 1e-5, 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_fine_thresholds_approach_the_exact_area(seed):
    """Between neighbouring thresholds the area is off by half the pairs there."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = scored(rng, 4000)
    metric = updated(kt.AUC(num_thresholds=20001), [Batch((y_true, y_pred))])
    assert as_float(metric) == pytest.approx(roc_auc_score(y_true, y_pred), abs=1e-4)


def test_scores_on_the_grid_are_ranked_exactly():
    """One threshold between any two scores: nothing is approximated."""
    rng = np.random.default_rng(1)
    y_true = np.float32(rng.integers(0, 2, 5000))
    y_pred = np.float32(rng.integers(0, 64, 5000) / 64 + 1 / 128)
    metric = updated(kt.AUC(num_thresholds=65), [Batch((y_true, y_pred))])
    assert as_float(metric) == pytest.approx(roc_auc_score(y_true, y_pred), abs=1e-6)
    weight = np.float32(rng.integers(0, 4, 5000))
    metric = updated(kt.AUC(num_thresholds=65), [Batch((y_true, y_pred), weight)])
    exact = roc_auc_score(y_true, y_pred, sample_weight=weight)
    assert as_float(metric) == pytest.approx(exact, abs=1e-6)


def test_float64_result_of_large_counts():
    """Rates are ratios of float64 counts: no rounding to float32 on the way."""
    metric = kt.AUC(num_thresholds=3, dtype="float64")
    for name, counts in (
        ("true_positives", [2**40 + 1, 2**39, 0]),
        ("false_negatives", [0, 2**39 + 1, 2**40 + 1]),
        ("false_positives", [2**41, 2**38 + 1, 0]),
        ("true_negatives", [0, 2**41 - 2**38 - 1, 2**41]),
    ):
        getattr(metric, name).assign(np.float64(counts))
    tp, fp = np.float64([2**40 + 1, 2**39, 0]), np.float64([2**41, 2**38 + 1, 0])
    recall, fallout = tp / tp[0], fp / fp[0]
    exact = -np.sum(np.diff(fallout) * (recall[1:] + recall[:-1]) / 2)
    # Keras gives AUC in the dtype of its variables, which is floatx.
    assert as_float(metric) == pytest.approx(exact, rel=1e-6)


# NaN.


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"curve": "PR"},
        {"curve": "PRGAIN", "summation_method": "minoring"},
        {"thresholds": [0.3, 0.7]},
        {"num_thresholds": 2},
        {"from_logits": True},
        {"multi_label": True},
    ],
    ids=str,
)
def test_nan_score_poisons_until_reset(kwargs):
    """A score without a rank has no area; Keras says 0.5."""
    rng = np.random.default_rng(0)
    labels = (3,) if kwargs.get("multi_label") else ()
    good = Batch(scored(rng, 10, labels=labels))
    y_true, y_pred = scored(rng, 10, labels=labels)
    y_pred[4] = np.nan
    metric = updated(kt.AUC(**kwargs), [good])
    fine = as_float(metric)
    updated(metric, [Batch((y_true, y_pred))])
    assert np.isnan(as_float(metric))
    updated(metric, [good])
    assert np.isnan(as_float(metric))
    metric.reset_state()
    updated(metric, [good])
    assert as_float(metric) == fine


@pytest.mark.parametrize("num_thresholds", [1, 2, 200])
@pytest.mark.parametrize("grouped", [False, True])
def test_nan_score_poisons_rates_at_a_rate(num_thresholds, grouped):
    at = kt.PrecisionAtRecall(0.5, num_thresholds=num_thresholds)
    # Which counts the same, and passes over NaN.
    count = kt.TruePositives(thresholds=at.thresholds)
    metric = kt.MetricGroup({"count": count, "at": at}) if grouped else at
    metric.update_state(np.float32([0, 1, 1]), np.float32([0.2, 0.8, np.nan]))
    if grouped:
        assert not np.isnan(to_numpy(count.result())).any()
    assert np.isnan(as_float(at))


@pytest.mark.parametrize("position", [0, 513, 4095, 100_000, 799_999])
@pytest.mark.parametrize("threads", [1, 2])
def test_nan_anywhere_in_a_large_batch(position, threads):
    kt.set_num_threads(threads)
    y_true, y_pred = scored(np.random.default_rng(0), 800_000)
    y_pred[position] = np.nan
    assert np.isnan(as_float(updated(kt.AUC(), [Batch((y_true, y_pred))])))


def test_nan_of_weight_zero_is_no_score():
    y_true, y_pred = scored(np.random.default_rng(0), 10)
    keep = np.arange(10) != 4
    fine = updated(kt.AUC(), [Batch((y_true[keep], y_pred[keep]))])
    y_pred[4] = np.nan
    metric = updated(kt.AUC(), [Batch((y_true, y_pred), np.float32(keep))])
    assert as_float(metric) == as_float(fine)


def test_nan_poisons_a_merged_state():
    y_true, y_pred = scored(np.random.default_rng(0), 10)
    first = updated(kt.AUC(), [Batch((y_true, y_pred))])
    y_pred[4] = np.nan
    second = updated(kt.AUC(), [Batch((y_true, y_pred))])
    for target, source in zip(first.variables, second.variables, strict=True):
        target.assign(to_numpy(target) + to_numpy(source))
    assert np.isnan(as_float(first))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 2.0, -1.0])
def test_scores_outside_the_unit_interval_are_clipped(value):
    y_true, y_pred = scored(np.random.default_rng(0), 10)
    y_pred[[1, 4]] = value
    for kwargs in ({}, {"thresholds": [0.3, 0.6]}):
        batches = [Batch((y_true, y_pred))]
        ours = updated(kt.AUC(**kwargs), batches)
        theirs = updated(keras.metrics.AUC(**kwargs), batches)
        assert_states_close(state(ours), state(theirs), 0)


# Thresholds.


@given(
    thresholds=st.lists(st.integers(0, 64), min_size=1, max_size=12),
    curve=st.sampled_from(CURVES),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_thresholds(thresholds, curve, seed):
    """Unsorted, repeated, on the ends, on the scores; even ones go to buckets."""
    rng = np.random.default_rng(seed)
    y_true = np.float32(rng.integers(0, 2, 40))
    y_pred = np.float32(rng.integers(0, 65, 40) / 64)
    kwargs = {"thresholds": [t / 64 for t in thresholds], "curve": curve}
    batches = [Batch((y_true, y_pred))]
    ours = updated(kt.AUC(**kwargs), batches)
    theirs = updated(keras.metrics.AUC(**kwargs), batches)
    reference = reference_after("AUC", kwargs, batches)
    assert ours.thresholds == theirs.thresholds
    assert_states_close(state(ours), state(theirs), 0)
    assert_states_close(state(ours), reference.state(), 0)
    assert_close(ours.result(), theirs.result(), 1e-4, 1e-4)


def test_thresholds_are_keras_thresholds():
    for kwargs in ({}, {"num_thresholds": 7}, {"thresholds": [0.7, 0.1]}):
        ours, theirs = kt.AUC(**kwargs), keras.metrics.AUC(**kwargs)
        assert list(ours.thresholds) == list(theirs.thresholds)
        assert ours.num_thresholds == theirs.num_thresholds


def test_reference_finds_the_buckets_of_keras():
    """The bucket formula and the comparison differ for scores on the grid."""
    grid = np.float32(np.arange(200) / 199)
    thresholds, buckets = references.auc_thresholds(200)
    assert buckets
    by_bucket = references.above(grid, thresholds, True)
    by_comparison = references.above(grid, thresholds, False)
    assert (by_bucket != by_comparison).any()


# Labels.


@pytest.mark.parametrize("num_labels", [None, 3])
@pytest.mark.parametrize("label_weights", [None, [0.5, 0.0, 2.0]])
@pytest.mark.parametrize("curve", CURVES)
def test_multi_label(curve, label_weights, num_labels):
    rng = np.random.default_rng(0)
    weight = np.float32(rng.integers(0, 4, 30))
    batches = [
        Batch(scored(rng, 30, labels=(3,)), weight),
        Batch(scored(rng, 9, labels=(3,))),
    ]
    kwargs = {
        "multi_label": True,
        "num_labels": num_labels,
        "label_weights": label_weights,
        "curve": curve,
        "num_thresholds": 50,
    }
    ours = updated(kt.AUC(**kwargs), batches)
    theirs = updated(keras.metrics.AUC(**kwargs), batches)
    reference = reference_after("AUC", kwargs, batches)
    assert_states_close(state(ours), reference.state(), 0)
    assert_close(ours.result(), reference.result(), 1e-6)
    assert_close(ours.result(), theirs.result(), 1e-4)


def test_multi_label_is_built_by_the_first_batch():
    metric = kt.AUC(multi_label=True, num_thresholds=5)
    assert metric.variables == []
    metric.reset_state()
    first = Batch(scored(np.random.default_rng(0), 4, labels=(2,)))
    updated(metric, [first])
    shapes = [tuple(v.shape) for v in metric.named_variables()]
    assert shapes == [(5, 2)] * 4
    before = state_bits(metric)
    three = Batch(scored(np.random.default_rng(0), 4, labels=(3,)))
    with pytest.raises(ValueError, match=r"y_pred|y_true|label"):
        updated(metric, [three])
    assert state_bits(metric) == before
    metric.reset_state()
    assert len(metric.named_variables()) == 4


def test_label_weights_weigh_columns_of_flat_data():
    rng = np.random.default_rng(0)
    args = scored(rng, 20, labels=(2,))
    weighted = updated(kt.AUC(label_weights=[3.0, 1.0]), [Batch(args)])
    weight = np.broadcast_to(np.float32([3.0, 1.0]), (20, 2)).copy()
    flat = updated(kt.AUC(), [Batch(args, weight)])
    assert_states_close(state(weighted), state(flat), 0)


# Logits.


def test_logits_are_probabilities_after_the_sigmoid():
    rng = np.random.default_rng(0)
    logits = np.float32(rng.normal(scale=3.0, size=2000))
    y_true = np.float32(rng.integers(0, 2, 2000))
    kwargs = {"from_logits": True, "num_thresholds": 33}
    batches = [Batch((y_true, logits))]
    ours = updated(kt.AUC(**kwargs), batches)
    theirs = updated(keras.metrics.AUC(**kwargs), batches)
    assert_states_close(state(ours), state(theirs), 0)
    assert as_float(ours) == pytest.approx(as_float(theirs), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 800.0, -800.0, np.inf, -np.inf])
def test_extreme_logits(value):
    batches = [Batch((np.float32([0, 1]), np.float32([value, 0.3])))]
    ours = updated(kt.AUC(from_logits=True), batches)
    theirs = updated(keras.metrics.AUC(from_logits=True), batches)
    assert_states_close(state(ours), state(theirs), 0)


def test_enumerations_as_arguments():
    from keras.src.metrics.metrics_utils import AUCCurve, AUCSummationMethod

    metric = kt.AUC(curve=AUCCurve.PR, summation_method=AUCSummationMethod.MAJORING)
    assert metric.get_config()["curve"] == "PR"
    assert metric.get_config()["summation_method"] == "majoring"
    for curve in ("pr", "roc", "prgain"):
        assert kt.AUC(curve=curve).get_config()["curve"] == curve.upper()


@pytest.mark.torch_only
def test_against_a_second_opinion():
    from torchmetrics.functional.classification import binary_auroc

    y_true, y_pred = scored(np.random.default_rng(3), 3000)
    metric = updated(kt.AUC(num_thresholds=20001), [Batch((y_true, y_pred))])
    exact = binary_auroc(to_backend(y_pred), to_backend(y_true, "int64"))
    assert as_float(metric) == pytest.approx(float(exact), abs=1e-4)
