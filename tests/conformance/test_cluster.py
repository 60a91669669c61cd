"""The strategies of `tf.distribute` in processes on 127.0.0.1.

What Keras 3 cannot do under one is held fast by its error, as `docs/scaling.md`
states it: where such a test fails because nothing is raised any more, that page
has good news to tell.
"""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

DEADLINE = 240


def addresses(jobs):
    """Free ports of 127.0.0.1 for so many processes of each job."""
    free = {
        job: [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for job, count in jobs.items()
    }
    found = {
        job: [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        for job, sockets in free.items()
    }
    for sockets in free.values():
        for one in sockets:
            one.close()
    return found


def start(root, folder, kind, cluster):
    """All processes of a cluster, those first that come to an end."""
    command = [sys.executable, "-m", "tests.conformance.cluster"]
    processes = []
    for job, ports in cluster.items():
        for index in range(len(ports)):
            config = {"cluster": cluster, "task": {"type": job, "index": index}}
            environment = os.environ | {
                "TF_CONFIG": json.dumps(config),
                "CUDA_VISIBLE_DEVICES": "-1",
                "no_grpc_proxy": "127.0.0.1",
            }
            with (folder / f"{job}{index}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*command, str(folder), kind],
                        cwd=root,
                        env=environment,
                        stdout=log,
                        stderr=log,
                    )
                )
    return processes


def seen(root, folder, kind, jobs, finish):
    """What the first `finish` processes of a cluster wrote down."""
    processes = start(root, folder, kind, addresses(jobs))
    deadline = time.monotonic() + DEADLINE
    try:
        for process in processes[:finish]:
            process.wait(max(0.1, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    ends = [process.returncode for process in processes[:finish]]
    logs = [path.read_text()[-3000:] for path in folder.glob("*.log")]
    assert ends == [0] * finish, "\n".join(logs)
    files = [folder / f"{index}.json" for index in range(finish)]
    return [json.loads(file.read_text()) for file in files]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, pytestconfig):
    def run(kind, jobs, finish):
        folder = tmp_path_factory.mktemp(kind)
        return seen(pytestconfig.rootpath, folder, kind, jobs, finish)

    return run


@pytest.fixture(scope="module")
def mirrored(cluster):
    return cluster("mirrored", {"worker": 1}, 1)[0]


@pytest.fixture(scope="module")
def workers(cluster):
    return cluster("multi_worker", {"worker": 2}, 2)


@pytest.fixture(scope="module")
def parameter_server(cluster):
    jobs = {"chief": 1, "ps": 1, "worker": 2}
    return cluster("parameter_server", jobs, 1)[0]


def test_mirrored_fits_without_these_two_settings(mirrored):
    """tensorflow issue 53140, keras issue 19246."""
    assert mirrored["fit"] is None
    assert "Trying to access resource" in mirrored["jit_compile"]
    assert (
        "You must feed a value for placeholder tensor"
        in (mirrored["steps_per_execution"])
    )


def test_fit_fails_in_several_workers(workers):
    """keras issue 20585."""
    for worker in workers:
        assert "Attempt to convert a value (PerReplica" in worker["fit"]


def test_workers_draw_noise_of_their_own(workers):
    first, second = (worker["draws"] for worker in workers)
    for draws in (first, second):
        np.testing.assert_array_equal(np.sum(draws, axis=-1), 1)
        assert draws[0] != draws[1]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert [worker["stream"] for worker in workers] == [[0, 2]] * 2


def test_a_metric_counts_what_all_workers_saw(workers):
    counts = np.array([2, 2, 4])
    p = counts / counts.sum()
    expected = np.exp(-np.sum(p * np.log(p)))
    found = [worker["perplexity"] for worker in workers]
    assert found == pytest.approx([expected] * 2, 1e-6)


def test_the_layers_communicate_nothing(workers):
    """A step reduces its gradients, with a layer in it or without."""
    gradients = 2 * (4 * 4 + 4)
    for worker in workers:
        assert worker["with a softmax"] == [["CollectiveReduceV2", gradients]]
        assert worker["with a layer"] == worker["with a softmax"]
        # The quantizer's own weights are a kernel, a bias, and the table.
        more = gradients + (4 * 4 + 4) + 4 * 4
        assert worker["with a codebook"] == [["CollectiveReduceV2", more]]


def test_parameter_servers_work_in_a_custom_loop(parameter_server):
    losses = parameter_server["losses"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.1 * losses[0]
    draws = parameter_server["draws"]
    np.testing.assert_array_equal(np.sum(draws, axis=-1), 1)
    assert len({str(draw) for draw in draws}) == len(draws)
    # Eight draws, and then thirty of training.
    assert parameter_server["stream"] == [0, 38]
    expected = pytest.approx(np.exp(-0.01 * 37))
    assert parameter_server["temperature"] == expected


def test_a_stream_for_each_worker_never_repeats(parameter_server):
    """In steps that overlap, where a stream for all does repeat."""
    assert parameter_server["different"] == 200
    assert sum(parameter_server["of workers"]) == 200


def test_fit_fails_under_parameter_servers(parameter_server):
    """keras issue 18624: not supported."""
    assert (
        "ClusterCoordinator.create_per_worker_dataset"
        in (parameter_server["fit"])
    )
