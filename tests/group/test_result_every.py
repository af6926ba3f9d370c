"""`callbacks.ResultEvery`: results of some batches only, and what stays exact."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from groups import needs_fit
from support import BACKEND, IS_PORTABLE, IS_TORCH, to_numpy
from test_group_fit import (
    BATCH,
    OPTIONS,
    ROWS,
    TOLERANCE,
    assert_logs_equal,
    data,
    make_model,
    trained,
)


def small_metrics():
    return [
        kt.BinaryAccuracy(name="accuracy"),
        kt.MeanSquaredError(name="error"),
        kt.R2Score(name="r2"),
    ]


@needs_fit
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [None, 1, 2, 3, 100])
def test_epochs_with_results_of_some_batches_only(steps, options):
    if options.get("jit_compile"):
        pytest.skip("the step is compiled in another test")
    if IS_PORTABLE and steps != 2:
        pytest.skip("the compiled step is the same")
    every = kt.callbacks.ResultEvery(steps)
    found = trained(
        "weighted_metrics",
        [kt.MetricGroup(small_metrics())],
        callbacks=[every],
        evaluate_callbacks=[kt.callbacks.ResultEvery(steps)],
        **options,
    )
    expected = trained("weighted_metrics", small_metrics(), **options)
    assert_logs_equal(found[0], expected[0])
    assert_logs_equal(found[1], expected[1])
    batches = -(-ROWS // BATCH)
    for index, logs in enumerate(found[2]):
        epoch, batch = divmod(index, batches)
        if not IS_TORCH:
            shown = batch
        else:
            shown = 0 if steps is None else batch // steps * steps
        for name in ("accuracy", "error", "r2"):
            wanted = expected[2][epoch * batches + shown][name]
            assert logs[name] == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.torch_only
@pytest.mark.parametrize(("steps", "computed"), [(None, 1), (1, 4), (2, 2), (3, 2)])
def test_results_are_not_computed_in_between(steps, computed, monkeypatch):
    from keras_tally import group as module

    calls = []
    native = module.result

    def counted(plan):
        calls.append(plan)
        return native(plan)

    monkeypatch.setattr(module, "result", counted)
    x, y, _ = data()
    model = make_model()
    group = kt.MetricGroup([kt.AUC(), kt.MeanSquaredError()])
    model.compile("sgd", "mse", metrics=[group])
    model.evaluate(x[:BATCH], y[:BATCH], verbose=0)
    del calls[:]
    options = {"batch_size": BATCH, "verbose": 0}
    callbacks = [kt.callbacks.ResultEvery(steps)]
    model.evaluate(x, y, callbacks=callbacks, **options)
    assert len(calls) == computed + 1  # and once at the end
    del calls[:]
    model.fit(x, y, epochs=3, callbacks=callbacks, **options)
    # One more in the symbolic build, where nothing is computed.
    assert len([c for c in calls if c is group._plan]) in (
        3 * (computed + 1),
        3 * (computed + 1) + 1,
    )
    del calls[:]
    model.evaluate(x, y, **options)
    assert len(calls) == 5  # without the callback: every batch, and the end


@needs_fit
def test_results_outside_of_batches_are_exact():
    """Whatever the callbacks of others ask for, and when."""
    if BACKEND == "jax":
        pytest.skip("Keras writes the state back at the end of an epoch")
    x, y, _ = data()
    model = make_model()
    group = kt.MetricGroup([kt.TruePositives(name="hits", thresholds=0.0)])

    class Asks(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.counts = []

        def look(self, batch, logs=None):
            self.counts.append(float(to_numpy(group.result()["hits"])))

        on_train_batch_end = on_test_batch_end = look

    asks = Asks()
    model.compile("sgd", "mse", metrics=[group], run_eagerly=not IS_PORTABLE)
    every = kt.callbacks.ResultEvery(100)
    options = {"batch_size": BATCH, "verbose": 0, "shuffle": False}
    positives = np.cumsum(
        [y[start : start + BATCH].sum() for start in range(0, ROWS, BATCH)]
    )
    for callbacks in ([every, asks], [asks, every]):
        del asks.counts[:]
        model.fit(x, y, callbacks=callbacks, **options)
        assert asks.counts == positives.tolist()
        assert float(to_numpy(group.result()["hits"])) == positives[-1]
        group.update_state(np.ones((3, 1)), np.ones((3, 1)))
        assert float(to_numpy(group.result()["hits"])) == positives[-1] + 3


@needs_fit
def test_groups_in_both_roles_and_metrics_beside():
    x, y, weight = data()

    def run(callbacks):
        model = make_model()
        model.compile(
            "sgd",
            "mse",
            metrics=[
                kt.MetricGroup([kt.BinaryAccuracy(name="a")]),
                kt.BinaryAccuracy(name="plain"),
            ],
            weighted_metrics=[kt.MetricGroup([kt.BinaryAccuracy(name="b")])],
        )
        return model.evaluate(
            x,
            y,
            sample_weight=weight,
            batch_size=BATCH,
            verbose=0,
            return_dict=True,
            callbacks=callbacks,
        )

    logs = run([kt.callbacks.ResultEvery()])
    assert logs == run([])
    assert logs["a"] == logs["plain"] != logs["b"]


@pytest.mark.parametrize("steps", [0, -1, -100])
def test_steps_below_one(steps):
    with pytest.raises(ValueError, match=f"steps={steps}"):
        kt.callbacks.ResultEvery(steps)


@pytest.mark.parametrize("steps", [1.5, float("nan"), "3", [2], 2.0])
def test_steps_that_are_no_whole_number(steps):
    with pytest.raises(TypeError, match="steps"):
        kt.callbacks.ResultEvery(steps)


def test_steps_of_numpy():
    assert kt.callbacks.ResultEvery(np.int64(3)).steps == 3
