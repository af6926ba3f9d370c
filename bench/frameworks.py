"""JAX and TensorFlow: every class beside Keras's own, eagerly and compiled; training.

KERAS_BACKEND=jax python bench/frameworks.py                 # measure and store
KERAS_BACKEND=tensorflow python bench/frameworks.py
KERAS_BACKEND=jax python bench/frameworks.py --quick         # stores nothing
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_tally.bench import harness
from keras_tally.bench.harness import check, interleaved, say, table
from report import Report, start

# One core does all the work: what else it does in the meantime is not counted.
Case = partial(harness.Case, clock=time.process_time)
BATCH = 32
STEPS = 64  # of a compiled loop
COLUMNS = {
    "metric": "metric",
    "eager": "eager update, us",
    "keras_eager": "Keras, us",
    "eager_ratio": "ratio",
    "result": "eager result, us",
    "keras_result": "Keras, us",
    "result_ratio": "ratio",
    "step": f"compiled step, batch {BATCH}, us",
    "keras_step": "Keras, us",
    "step_ratio": "ratio",
    "loop": "in a compiled loop, us",
    "keras_loop": "Keras, us",
    "shape": "large batch",
    "large": "compiled, ms",
    "keras_large": "Keras, ms",
    "large_ratio": "ratio",
}
ROAD_COLUMNS = {
    "metric": "metric",
    "kernel": f"kernel, batch {BATCH}, us",
    "portable": "portable, us",
    "callback": "numpy_function, us",
    "keras": "Keras, us",
    "shape": "large batch",
    "kernel_large": "kernel, ms",
    "portable_large": "portable, ms",
    "callback_large": "numpy_function, ms",
    "keras_large": "Keras, ms",
}
FIT_COLUMNS = {
    "step": "step",
    "none": "no metrics, s",
    "keras": "Keras, s",
    "ours": "keras-tally, s",
    "group": "MetricGroup, s",
    "empty": "four empty metrics, s",
    "empty_group": "one empty metric, s",
    "keras_share": "Keras's share, %",
    "ours_part": "ours / Keras's",
    "group_part": "MetricGroup's / Keras's",
    "empty_part": "four empty / Keras's",
    "empty_group_part": "one empty / Keras's",
}


@dataclass(frozen=True)
class Effort:
    """How long it may take."""

    rounds: int = 15
    sample_s: float = 0.01
    elements: int = 1_000_000
    fit_rounds: int = 15


QUICK = Effort(2, 0.0005, 2000, 1)


class Jax:
    """How a step is compiled, and when it has ended."""

    name, compiled, eager_goal = "JAX", "jitted", 10
    callback = None  # XLA's own is what kernels are called by
    roads_of = None  # all

    def wait(self, metric: Any) -> None:
        import jax

        jax.block_until_ready([v.value for v in metric.variables])

    def step(self, metric: Any, batch: Any) -> Callable[[], Any]:
        """A call that runs one compiled update; its state is donated."""
        import jax

        def update(state: Any, batch: Any) -> Any:
            return tuple(metric.stateless_update_state(state, *batch))

        run = jax.jit(update, donate_argnums=0)
        state = tuple(jax.numpy.copy(v.value) for v in metric.variables)

        def call() -> Any:
            nonlocal state
            state = run(state, batch)
            return jax.block_until_ready(state)

        return call

    def loop(self, metric: Any, batches: Any) -> Callable[[], Any]:
        """A call that runs one update for each of the stacked batches."""
        import jax

        @jax.jit
        def run(state: Any, batches: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                return tuple(metric.stateless_update_state(state, *batch)), None

            return jax.lax.scan(step, state, batches)[0]

        state = tuple(v.value for v in metric.variables)
        return lambda: jax.block_until_ready(run(state, batches))


class TensorFlow:
    """How a step is compiled; nothing is asynchronous."""

    name, compiled, eager_goal = "TensorFlow", "in a graph", 5
    roads_of = (
        *("BinaryAccuracy", "MeanSquaredError", "SparseCategoricalAccuracy"),
        *("AUC(200)", "TruePositives", "CategoricalCrossentropy", "MeanIoU"),
    )

    def wait(self, metric: Any) -> None:
        metric.variables[0].numpy()

    def step(self, metric: Any, batch: Any) -> Callable[[], Any]:
        """A call that runs one compiled update."""
        import tensorflow as tf

        run = tf.function(metric.update_state)
        return lambda: run(*batch)

    def callback(self, metric: Any, batch: Any) -> Callable[[], Any]:
        """A call that runs one compiled update by `numpy_function`.

        The state is float64, as the kernel takes it: nothing is converted.
        """
        import tensorflow as tf

        from keras_tally import _native

        plan = metric._plan.members[0].native
        _, _, plan_options = metric._plan_arguments
        whole = plan_options.get("whole")
        own = [
            np.zeros(v.shape, "int64" if whole else "float64")
            for v in metric.named_variables()
        ]
        variables = [tf.Variable(x) for x in own]

        def update(*arrays: Any) -> Any:
            state = [np.array(x) for x in arrays[: len(own)]]
            _native.update_into(plan, state, *arrays[len(own) :], None)
            return state

        @tf.function
        def run(*batch: Any) -> None:
            dtypes = [v.dtype for v in variables]
            new = tf.numpy_function(update, [*variables, *batch], dtypes)
            for variable, value in zip(variables, new, strict=True):
                value.set_shape(variable.shape)
                variable.assign(value)

        return lambda: run(*batch)

    def loop(self, metric: Any, batches: Any) -> Callable[[], Any]:
        """A call that runs one update for each of the stacked batches."""
        import tensorflow as tf

        @tf.function
        def run(batches: Any) -> None:
            for i in tf.range(tf.shape(batches[0])[0]):
                metric.update_state(*(b[i] for b in batches))

        def call() -> Any:
            run(batches)
            return [v.value for v in metric.variables]

        return call


def extra_subjects() -> list[Any]:
    """What the targets ask for beyond the classes."""
    from keras_tally.bench.subjects import Subject, ids, onehot, sparse

    def of_three(name: str, make: Any, data: Any) -> Subject:
        return Subject(f"{name}, 3 classes", lambda n: data(n, 3), make)

    return [
        of_three("CategoricalAccuracy", lambda m: m.CategoricalAccuracy(), onehot),
        of_three(
            "SparseCategoricalAccuracy",
            lambda m: m.SparseCategoricalAccuracy(),
            sparse,
        ),
        of_three(
            "SparseTopKCategoricalAccuracy(2)",
            lambda m: m.SparseTopKCategoricalAccuracy(2),
            sparse,
        ),
        of_three(
            "SparseCategoricalCrossentropy",
            lambda m: m.SparseCategoricalCrossentropy(),
            sparse,
        ),
        of_three("OneHotMeanIoU", lambda m: m.OneHotMeanIoU(3), onehot),
        Subject(
            "SparseTopKCategoricalAccuracy(5), 1000 classes",
            lambda n: sparse(n, 1000),
            lambda m: m.SparseTopKCategoricalAccuracy(5),
        ),
        Subject(
            "MeanIoU(21), class ids",
            lambda n: ids(n, 21),
            lambda m: m.MeanIoU(21),
        ),
        Subject(
            "MeanIoU(21), scores",
            lambda n: sparse(n, 21),
            lambda m: m.MeanIoU(21, sparse_y_pred=False),
        ),
    ]


def stacked(make: Any, steps: int, rows: int, count: int) -> tuple[Any, ...]:
    """``steps`` batches behind one another, each of ``rows`` rows."""
    arrays = make(steps * rows).keras[:count]
    return tuple(
        keras.ops.reshape(a, (steps, a.shape[0] // steps, *a.shape[1:])) for a in arrays
    )


def numbers(value: Any) -> list[float]:
    """A result, as numbers."""
    return np.ravel(keras.ops.convert_to_numpy(value)).tolist()


def class_row(subject: Any, framework: Any, effort: Effort) -> dict[str, Any]:
    """All timings of one class."""
    import keras_tally

    count = 1 if subject.alone else 2
    few = subject.data(BATCH).keras[:count]
    columns = max(1, int(np.prod(few[-1].shape)) // BATCH)
    rows = max(1, effort.elements // columns)
    pair = {"": subject.ours(keras_tally), "keras_": subject.ours(keras.metrics)}
    for metric in pair.values():
        metric.update_state(*few)
    for a, b in zip(*(numbers(m.result()) for m in pair.values()), strict=True):
        check(subject.name, a, b, 2e-5)

    cases = []
    for prefix, metric in pair.items():
        wait = (lambda m: lambda: framework.wait(m))(metric)
        cases.append(Case(prefix + "eager", metric.update_state, few, wait=wait))
        cases.append(Case(prefix + "result", metric.result))
    interleaved(cases, effort.rounds, effort.sample_s)
    found = {c.name: c.median * 1e6 for c in cases}

    many = subject.data(rows).keras[:count]
    batches = stacked(subject.data, STEPS, BATCH, count)
    for name, compiled, data, sample_s, unit in (
        ("step", framework.step, few, effort.sample_s, 1e6),
        ("loop", framework.loop, batches, effort.sample_s, 1e6 / STEPS),
        ("large", framework.step, many, 0, 1e3),
    ):
        timed = [Case(p + name, compiled(m, data)) for p, m in pair.items()]
        interleaved(timed, effort.rounds, sample_s)
        found |= {c.name: c.median * unit for c in timed}
    for name in ("eager", "result", "step", "large"):
        found[name + "_ratio"] = found["keras_" + name] / found[name]
    shape = tuple(many[-1].shape)
    return {"metric": subject.name, "shape": str(shape), **found}


def road_row(subject: Any, framework: Any, effort: Effort) -> dict[str, Any]:
    """One compiled update by each road that it could take."""
    import keras_tally
    from keras_tally import _stored

    count = 1 if subject.alone else 2
    few = subject.data(BATCH).keras[:count]
    columns = max(1, int(np.prod(few[-1].shape)) // BATCH)
    many = subject.data(max(1, effort.elements // columns)).keras[:count]
    found: dict[str, Any] = {}
    for suffix, batch, sample_s, unit in (
        ("", few, effort.sample_s, 1e6),
        ("_large", many, 0, 1e3),
    ):
        calls = {}
        for road in ("kernel", "portable", "callback", "keras"):
            module = keras.metrics if road == "keras" else keras_tally
            metric = subject.ours(module)
            metric.update_state(*few)
            make = framework.callback if road == "callback" else framework.step
            if make is None:
                continue
            _stored.only_portable = road == "portable"
            _stored.even_small = road == "kernel"
            calls[road] = make(metric, batch)
            calls[road]()  # traces, by this road
            _stored.only_portable = _stored.even_small = False
            if road in ("kernel", "portable"):
                taken = metric._plan.taken["update"]
                if (taken == "native") is not (road == "kernel"):
                    raise SystemExit(f"{subject.name} took another road: {taken}")
        timed = [Case(road + suffix, call) for road, call in calls.items()]
        interleaved(timed, effort.rounds, sample_s)
        found |= {c.name: c.median * unit for c in timed}
    return {"metric": subject.name, "shape": str(tuple(many[-1].shape)), **found}


class Empty(keras.metrics.Metric):  # type: ignore[misc]
    """A metric that does nothing: what Keras's trainer costs by itself."""

    def __init__(self, results: int, name: str) -> None:
        super().__init__(name=name)
        self.results = results
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign(self.total + 1.0)

    def result(self) -> Any:
        if self.results == 1:
            return self.total + 0.0
        return {f"{self.name}_{i}": self.total + i for i in range(self.results)}


MODELS = ("none", "keras", "ours", "group", "empty", "empty_group")


def training(effort: Effort) -> dict[str, dict[str, list[float]]]:
    """Seconds of epochs and evaluations of a small MLP."""
    import keras_tally

    rows, width = (60_000, 64) if effort is not QUICK else (512, 64)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, width), dtype=np.float32)
    y = (x @ rng.standard_normal(width, dtype=np.float32) > 0).astype(np.float32)
    y = y[:, None]

    def four(module: Any) -> list[Any]:
        names = ("BinaryAccuracy", "Precision", "Recall", "AUC")
        return [getattr(module, name)(name=name) for name in names]

    models = {}
    for name, metrics in {
        "none": [],
        "keras": four(keras.metrics),
        "ours": four(keras_tally),
        "group": [keras_tally.MetricGroup(four(keras_tally))],
        "empty": [Empty(1, f"empty_{i}") for i in range(4)],
        "empty_group": [Empty(4, "empty")],
    }.items():
        keras.utils.set_random_seed(1)
        models[name] = keras.Sequential(
            [
                keras.layers.Input((width,)),
                keras.layers.Dense(128, activation="relu"),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        models[name].compile("adam", "binary_crossentropy", metrics=metrics)
    seconds: dict[str, dict[str, list[float]]] = {
        step: {name: [] for name in models} for step in ("fit", "evaluate")
    }
    logs = {}
    names = list(models)
    for r in range(-1, effort.fit_rounds):
        first = r % len(names)
        for name in names[first:] + names[:first]:
            model = models[name]
            keras.utils.set_random_seed(2)
            began = time.process_time()
            model.fit(x, y, batch_size=128, verbose=0)
            fitted = time.process_time()
            logs[name] = model.evaluate(
                x, y, batch_size=128, verbose=0, return_dict=True
            )
            if r >= 0:  # the first round compiles
                seconds["fit"][name].append(fitted - began)
                seconds["evaluate"][name].append(time.process_time() - fitted)
        for name in ("ours", "group"):
            for key, value in logs["keras"].items():
                check(f"{name}, {key} in evaluate", logs[name][key], value, 1e-5)
        say(f"[{r + 2}/{effort.fit_rounds + 1}] epochs")
    return seconds


def training_row(step: str, by: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and costs taken within a round."""

    def cost(name: str) -> float:
        pairs = zip(by[name], by["none"], strict=True)
        return statistics.median(t - none for t, none in pairs)

    shares = zip(by["keras"], by["none"], strict=True)
    return {
        "step": step,
        **{name: statistics.median(t) for name, t in by.items()},
        "keras_share": statistics.median((k - n) / k * 100 for k, n in shares),
        **{f"{name}_part": cost(name) / cost("keras") for name in MODELS[2:]},
    }


def judge(report: Report, rows: list[dict[str, Any]], framework: Any) -> None:
    """The targets of the classes' rows."""

    def least(what: str, key: str, goal: float, chosen: Any) -> None:
        worst = min(chosen, key=lambda row: row[key])
        met = sum(row[key] >= goal for row in chosen)
        report.target(
            f"{what}, Keras / ours: {met} of {len(chosen)}; the lowest is "
            f"{worst['metric']}",
            f"at least {goal}x",
            worst[key],
            met == len(chosen),
            "x",
        )

    least("eager update", "eager_ratio", framework.eager_goal, rows)
    least(f"{framework.compiled}, batch {BATCH}", "step_ratio", 1, rows)
    least(f"{framework.compiled}, large batch", "large_ratio", 1, rows)
    heavy = [
        r for r in rows if r["metric"].startswith(("AUC", "MeanIoU", "SparseTopK"))
    ]
    heavy = [r for r in heavy if not r["metric"].endswith(("(3)", "3 classes"))]
    least(f"{framework.compiled}, AUC, top-k, IoU", "large_ratio", 2, heavy)


def main(effort: Effort) -> None:
    backends = {"jax": Jax, "tensorflow": TensorFlow}
    start("JAX and TensorFlow beside Keras", tuple(backends))
    backend = keras.config.backend()
    framework = backends[backend]()
    from keras_tally.bench.subjects import LOGITS, MORE, SUBJECTS

    core = harness.pin()
    harness.set_threads(1)
    report = Report(
        backend, f"Every class on {framework.name}, CPU", COLUMNS, "frameworks.py"
    )
    report.notes = [
        f"Pinned to core {core}, one thread, and CPU time of the process. Medians of "
        f"{effort.rounds} samples, taken in turn; results were compared with Keras's "
        "before anything was timed.",
        f"`compiled` is {framework.compiled}: one call of a step; in a loop of {STEPS} "
        "batches no call from Python is paid for (on JAX, XLA also merges Keras's "
        f"operations with the loop). The large batch has {effort.elements:,} elements.",
        "Training: MLP 64-128-1, 60,000 rows, batch 128, Adam; BinaryAccuracy, "
        f"Precision, Recall and AUC. {effort.fit_rounds} rounds of the models in turn; "
        "differences are taken within a round, then their "
        "medians. The empty metrics have one variable of one number; one of them "
        "returns four results.",
        "Roads: one compiled update by our kernel, by Keras's operations with exact "
        "sums, by `numpy_function` around the kernel (TensorFlow), by Keras.",
    ]
    subjects = [*SUBJECTS, *MORE, *LOGITS, *extra_subjects()]
    if effort is QUICK:
        subjects = [s for s in subjects if s.name in ("AUC(200)", "Mean", "R2Score")]
    for i, subject in enumerate(subjects, 1):
        say(f"[{i}/{len(subjects)}] {subject.name}")
        report.row(**class_row(subject, framework, effort))
    rows = report.rows
    report.tables.append({"title": "Classes", "columns": COLUMNS, "rows": rows})
    report.table("Roads", ROAD_COLUMNS)
    for subject in subjects:
        if framework.roads_of is None or subject.name in framework.roads_of:
            say(f"roads of {subject.name}")
            report.row(**road_row(subject, framework, effort))
    report.table("Training", FIT_COLUMNS)
    for step, by in training(effort).items():
        report.row(**training_row(step, by))
    judge(report, rows, framework)
    for row in report.rows:
        for key, goal in (("ours_part", 0.5), ("group_part", 0.25)):
            report.target(
                f"{row['step']}: {FIT_COLUMNS[key]} cost",
                f"at most {goal}",
                row[key],
                row[key] <= goal,
            )
    if effort is QUICK:
        say(table(COLUMNS, rows))
    else:
        report.write()


if __name__ == "__main__":
    main(QUICK if "--quick" in sys.argv else Effort())
