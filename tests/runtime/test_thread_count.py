"""How many threads a large update uses: what is asked for, what there is, what others
take."""

import subprocess
import sys

import numpy as np
import pytest

import keras_tally as kt
from keras_tally import _native, _threads
from support import BACKEND, IS_TORCH, to_backend

# /proc/self/cgroup, files below /sys/fs/cgroup, and how many CPUs they grant.
CGROUPS = {
    "no limit": ("0::/", {"cpu.max": "max 100000"}, []),
    "no files": ("0::/app", {}, []),
    "one and a half": ("0::/", {"cpu.max": "150000 100000"}, [1.5]),
    "of an ancestor": (
        "0::/pod/app",
        {"pod/app/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"},
        [3.0],
    ),
    "of several": (
        "0::/pod/app",
        {"pod/app/cpu.max": "800000 100000", "pod/cpu.max": "400000 100000"},
        [8.0, 4.0],
    ),
    "of the container, seen from outside of it": (
        "0::/../../pod",
        {"cpu.max": "200000 100000"},
        [2.0],
    ),
    "version 1": (
        "5:memory:/app\n3:cpu,cpuacct:/app",
        {"cpu/app/cpu.cfs_quota_us": "250000", "cpu/app/cpu.cfs_period_us": "50000"},
        [5.0],
    ),
    "version 1, in a container": (
        "3:cpu,cpuacct:/docker/0123",
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        [0.5],
    ),
    "version 1 without a limit": (
        "3:cpu:/",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        [],
    ),
    "both versions": (
        "1:cpu:/app\n0::/app",
        {
            "cpu/app/cpu.cfs_quota_us": "700000",
            "cpu/app/cpu.cfs_period_us": "100000",
            "unified/app/cpu.max": "600000 100000",
        },
        [7.0, 6.0],
    ),
}


@pytest.mark.parametrize("name", CGROUPS)
def test_the_quota_of_a_container(name, tmp_path):
    own, files, expected = CGROUPS[name]
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text + "\n")
    assert list(_threads._quotas(own, tmp_path)) == expected


@pytest.mark.parametrize(
    ("cores", "quotas", "openmp", "expected"),
    [
        (64, [], None, 8),
        (4, [], None, 4),
        (64, [3.5], None, 3),
        (64, [0.5], None, 1),
        (64, [16.0, 2.0], None, 2),
        (64, [], "1", 1),
        (64, [], " 2,1", 2),
        (64, [], "99", 8),
        # OpenMP takes these for nothing said.
        (64, [], "", 8),
        (64, [], "0", 8),
        (64, [], "-1", 8),
        (64, [], "many", 8),
    ],
)
def test_the_default(cores, quotas, openmp, expected, monkeypatch):
    monkeypatch.setattr(_threads, "_cores", lambda: cores)
    monkeypatch.setattr(_threads, "_quotas", lambda *_: iter(quotas))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if openmp is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert _threads._default() == expected


@pytest.mark.parametrize("text", ["0", "-1", "257", "two", "1.5", " 2", "²"])
def test_the_environment_variable_is_checked(text, monkeypatch):
    monkeypatch.setenv("KERAS_TALLY_NUM_THREADS", text)
    with pytest.raises(ValueError, match="KERAS_TALLY_NUM_THREADS must be a number"):
        _threads._from_environment()


@pytest.mark.parametrize(
    ("asked", "openmp", "expected"), [("3", "1", "3"), ("", "1", "1"), ("x", "1", None)]
)
def test_a_new_process(asked, openmp, expected):
    """As torchrun starts one for each rank."""
    run = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from keras_tally import engine; print(engine.num_threads())",
        ],
        env={"KERAS_TALLY_NUM_THREADS": asked, "OMP_NUM_THREADS": openmp},
        capture_output=True,
        text=True,
    )
    if expected is None:
        assert "KERAS_TALLY_NUM_THREADS must be a number" in run.stderr
    else:
        assert (run.stdout.strip(), run.stderr) == (expected, "")


def test_what_is_asked_for():
    default = kt.num_threads()
    kt.set_num_threads(np.int64(5))
    assert kt.num_threads() == 5
    kt.set_num_threads(None)
    assert kt.num_threads() == default
    for bad in (0, -1, 257):
        with pytest.raises(ValueError, match=f"`count` .* Received: count={bad}"):
            kt.set_num_threads(bad)
    for bad in ("2", 1.5, [1]):
        with pytest.raises(TypeError, match="`count` must be an integer"):
            kt.set_num_threads(bad)
    assert kt.num_threads() == default


@pytest.fixture
def many_cores():
    _native.set_default_threads(6)
    yield
    _native.set_default_threads(_threads._default())


@pytest.fixture
def torch_threads():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.skipif(BACKEND not in ("torch", "numpy"), reason="kernels of frameworks")
def test_no_more_than_torch(many_cores, torch_threads, roads):
    """As torch has it at the time of the update: its data loaders' workers say 1."""
    x = np.zeros(_native.parallel_threshold() * 2, "float32")
    metric, batch = kt.Mean(), to_backend(x)
    torch_threads(3)
    assert kt.num_threads() == 3
    metric.update_state(batch)
    assert roads()["parallel"] == 1
    torch_threads(1)
    assert kt.num_threads() == 1
    metric.update_state(batch)
    assert roads()["parallel"] == 1
    torch_threads(64)
    assert kt.num_threads() == 6
    # Whoever says how many gets as many.
    torch_threads(1)
    kt.set_num_threads(2)
    metric.update_state(batch)
    assert roads()["parallel"] == 2
    assert IS_TORCH or BACKEND == "numpy"
