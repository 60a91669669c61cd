"""Two processes train one model, and one of them is killed."""

import multiprocessing
import signal

import pytest
import torch

from tests.torch import training

KILLED_AT = 3


@pytest.fixture(scope="module")
def ranks():
    """One process imports torch, and is forked for each rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([training.__name__])

    def run(folder, killed_at=None):
        folder.mkdir(exist_ok=True)
        processes = [
            context.Process(
                target=training.train, args=(rank, str(folder), killed_at)
            )
            for rank in range(2)
        ]
        for one in processes:
            one.start()
        for one in processes:
            one.join()
        samples = {x.name: torch.load(x) for x in folder.glob("sample-*.pt")}
        state = torch.load(folder / "state.pt")
        return [one.exitcode for one in processes], state, samples

    return run


def test_the_rest_has_the_same_noise(ranks, tmp_path):
    """Weights, momenta and streams are those of a run that nobody killed."""
    (_, code), cut, samples = ranks(tmp_path / "cut", KILLED_AT)
    assert code == -signal.SIGKILL
    assert cut["step"] == KILLED_AT
    assert len(samples) == 2 * KILLED_AT
    codes, resumed, samples = ranks(tmp_path / "cut")
    assert codes == [0, 0]
    codes, whole, right = ranks(tmp_path / "whole")
    assert codes == [0, 0]
    assert samples.keys() == right.keys()
    assert len(right) == 2 * training.STEPS
    for name, sample in right.items():
        assert torch.equal(samples[name], sample), name
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    weights = [x["net"]["linear.weight"] for x in (cut, whole)]
    assert not torch.equal(*weights)
