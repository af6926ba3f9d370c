"""What a metric says, once, of inputs that cannot be meant."""

import warnings

import keras
import numpy as np
import pytest

import keras_tally as kt
from support import BACKEND, to_backend

Y = np.float32([0, 1] * 10)
LOGITS = np.where(np.arange(20) % 3, 40 * Y - 20, 20 - 40 * Y).astype("float32")
PROBABILITIES = np.linspace(0.1, 0.9, 20).astype("float32")
ONE_HOT = np.eye(4, dtype="float32")[np.arange(20) % 4]
SOFTMAX = np.full((20, 4), 0.25, "float32")
# Not evenly spaced, and reaching over both ends.
THRESHOLDS = (np.linspace(0, 1, 12)[1:-1] ** 2).tolist()

# The probabilities of something rare.
RARE = PROBABILITIES / 1000

DOUBTFUL = {
    "logits": (lambda: kt.AUC(), Y, LOGITS, "from_logits=True"),
    "classes": (lambda: kt.AUC(curve="PR"), Y, np.roll(Y, 1), "from_logits=True"),
    "columns": (
        lambda: kt.AUC(multi_label=True),
        np.stack([Y, Y], 1),
        np.stack([PROBABILITIES, LOGITS], 1),
        "from_logits=True",
    ),
    "thresholds": (lambda: kt.AUC(thresholds=THRESHOLDS), Y, LOGITS, "larger than 1"),
    "rare": (lambda: kt.AUC(), Y, RARE, "more `num_thresholds`"),
    "at": (lambda: kt.PrecisionAtRecall(0.5), Y, LOGITS, "from_logits=True"),
    "softmax": (lambda: kt.Accuracy(), ONE_HOT, SOFTMAX, "CategoricalAccuracy"),
    "regressors": (
        lambda: kt.R2Score(num_regressors=30),
        Y[:, None],
        PROBABILITIES[:, None],
        "Falling back to standard R2",
    ),
}
MEANT = {
    "probabilities": (lambda: kt.AUC(), Y, PROBABILITIES),
    "from_logits": (lambda: kt.AUC(from_logits=True), Y, LOGITS),
    "all right": (lambda: kt.AUC(), Y, Y),
    "few": (lambda: kt.AUC(), Y[:8], LOGITS[:8]),
    "few thresholds": (lambda: kt.AUC(num_thresholds=3), Y, LOGITS),
    "in reach": (lambda: kt.AUC(thresholds=THRESHOLDS), Y, PROBABILITIES),
    "rare": (lambda: kt.AUC(num_thresholds=100_000), Y, RARE),
    "rare, at": (lambda: kt.RecallAtPrecision(0.5, num_thresholds=100_000), Y, RARE),
    "rare, thresholds": (lambda: kt.AUC(thresholds=RARE.tolist()), Y, RARE),
    "few all wrong": (lambda: kt.Accuracy(), Y[:8], 1 - Y[:8]),
    "one right": (lambda: kt.Accuracy(), Y, np.append(1 - Y[:-1], Y[-1])),
}


def warned(read):
    """Return the messages of warnings, and the files they point at."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read()
    ours = [w for w in caught if issubclass(w.category, UserWarning)]
    return [str(w.message) for w in ours], {w.filename for w in ours}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_says_it_once(name):
    make, y_true, y_pred, text = DOUBTFUL[name]
    metric = make()
    metric.update_state(to_backend(y_true), to_backend(y_pred))
    messages, files = warned(metric.result)
    assert len(messages) == 1
    assert text in messages[0]
    assert files == {__file__}
    if name != "regressors":  # of every result, as Keras's
        assert metric.name in messages[0]
        assert not warned(lambda: [metric.result() for _ in range(8)])[0]


@pytest.mark.parametrize("name", MEANT)
def test_says_nothing(name):
    make, y_true, y_pred = MEANT[name]
    metric = make()
    metric.update_state(to_backend(y_true), to_backend(y_pred))
    assert not warned(lambda: [metric.result() for _ in range(8)])[0]


@pytest.mark.parametrize(
    ("y_pred", "looks"), [(PROBABILITIES, 1), (LOGITS, 1), (Y, 10)]
)
def test_results_are_looked_at_rarely(y_pred, looks, monkeypatch):
    """Once where that decides, and else less and less often."""
    metric, looked = kt.AUC(), []
    doubt = metric._doubt

    def watched(state):
        looked.append(state)
        return doubt(state)

    monkeypatch.setattr(metric, "_doubt", watched)
    metric.update_state(to_backend(Y), to_backend(y_pred))
    warned(lambda: [metric.result() for _ in range(1000)])
    assert len(looked) == looks


def test_group_says_it_once():
    group = kt.MetricGroup({"auc": kt.AUC(), "same": kt.Accuracy()})
    group.update_state(to_backend(Y), to_backend(LOGITS))
    messages, files = warned(lambda: [group.result() for _ in range(4)])
    assert len(messages) == 2
    assert files == {__file__}


def test_fit_says_it_once_with_the_results_of_all():
    model = keras.Sequential([keras.layers.Rescaling(40.0, offset=-20)])
    model.compile(loss="mse", metrics=[kt.AUC()], weighted_metrics=[])
    x = np.roll(Y, 3)[:, None]
    messages, _ = warned(lambda: model.evaluate(x, Y[:, None], verbose=0))
    assert [m for m in messages if "from_logits" in m] == messages[-1:]
    assert messages


def test_a_stateless_result_says_nothing():
    metric = kt.AUC()
    metric.update_state(to_backend(Y), to_backend(LOGITS))
    state = [v.value for v in metric.variables]
    assert not warned(lambda: metric.stateless_result(state))[0]


@pytest.mark.skipif(BACKEND != "torch", reason="torch has meta tensors everywhere")
def test_states_that_are_not_on_the_host_are_not_read():
    with keras.device("meta"):
        metric = kt.AUC()
    assert metric._state_on_host() is None
