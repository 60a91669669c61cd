"""Seeds, torch's own generators, files and processes."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg

X = np.random.default_rng(0).normal(size=(8, 7)).astype("float32")


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**32 - 1])
def test_every_seed_is_one(seed, tmp_path):
    """Keras 3.15.1 raises from 2**31 on."""
    model = keras.Sequential(
        [keras.Input((7,)), kg.GumbelSoftmax(hard=True, seed=seed)]
    )
    one = model(X, training=True)
    other = kg.ops.gumbel_softmax(X, hard=True, seed=seed)
    np.testing.assert_array_equal(one, other)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config()["seed"] == seed
    for _ in range(2):
        np.testing.assert_array_equal(
            loaded(X, training=True), model(X, training=True)
        )


def test_a_generator_of_torch_is_a_seed():
    def generator():
        return torch.Generator().manual_seed(7)

    first, again = generator(), generator()
    for draw in (kg.ops.gumbel_softmax, kg.ops.gumbel_sigmoid):
        one, other = draw(X, seed=first), draw(X, seed=again)
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(
        kg.ops.gumbel_softmax(X, seed=first),
        kg.ops.gumbel_softmax(X, seed=again.manual_seed(8)),
    )


def test_a_layer_begins_with_a_generator_of_torch():
    """And is saved with the integer that it gave."""
    one, other = (
        kg.GumbelSoftmax(hard=True, seed=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    third = kg.GumbelSoftmax.from_config(one.get_config())
    for _ in range(2):
        y = one(X, training=True)
        np.testing.assert_array_equal(y, other(X, training=True))
        np.testing.assert_array_equal(y, third(X, training=True))


def test_manual_seed_does_not_reach_a_stream():
    """`keras.utils.set_random_seed` does."""
    torch.manual_seed(0)
    one = kg.ops.gumbel_softmax(X)
    torch.manual_seed(0)
    assert not np.array_equal(one, kg.ops.gumbel_softmax(X))
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        draws.append(kg.ops.gumbel_softmax(X))
    np.testing.assert_array_equal(*draws)


def test_a_module_holds_a_layer():
    """Its `state_dict` has the temperature, the stream and what else lives."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(7, 7)
            self.choice = kg.GumbelSoftmax(0.5, hard=True, seed=1)
            self.choice.build((None, 7))

        def forward(self, x):
            return self.choice(self.linear(x), training=self.training)

    net, other = Net(), Net()
    x = torch.tensor(X)
    net.choice.temperature = 0.25
    net.choice.noise_scale = 0.5
    net(x).square().sum().backward()
    assert net.linear.weight.grad.abs().max() > 0
    trained = [x for x in net.parameters() if x.requires_grad]
    assert len(trained) == 2
    # Keras names variables by numbers that go on.
    states = zip(other.state_dict(), net.state_dict().values(), strict=True)
    other.load_state_dict(dict(states))
    assert float(other.choice.temperature.value) == 0.25
    np.testing.assert_array_equal(net(x).detach(), other(x).detach())
    assert other.choice.seed_generator.state.value.tolist() == [1, 2]


def test_a_layer_holds_a_module():
    inner = torch.nn.Linear(7, 7)
    module = keras.layers.TorchModuleWrapper(inner)
    model = keras.Sequential([module, kg.GumbelSoftmax(hard=True, seed=1)])
    model.compile("sgd", "mse")
    before = inner.weight.detach().clone()
    model.fit(X, np.ones_like(X), verbose=0)
    assert (inner.weight - before).abs().max() > 0


def test_autocast_is_left_outside():
    """What is half in its region is computed in float32 all the same."""
    x = torch.tensor(X).bfloat16()
    right = kg.ops.gumbel_softmax(x, 0.5, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = kg.ops.gumbel_softmax(x, 0.5, seed=1)
    assert found.dtype == torch.bfloat16
    np.testing.assert_array_equal(found.float(), right.float())


RANKS = """
import sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import keras_gumbel as kg


def run(rank, folder):
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2)
    layer = kg.GumbelSoftmax(hard=True, seed=1)
    layer.build((None, 9))
    linear = torch.nn.Linear(9, 9)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    model = torch.nn.parallel.DistributedDataParallel(linear)
    y = layer(model(torch.ones(40, 9)), training=True)
    (y * torch.arange(9.0)).sum().backward()
    torch.save(
        {
            "y": y.detach(),
            "gradient": linear.weight.grad,
            "state": layer.seed_generator.state.value.tolist(),
        },
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(run, (sys.argv[1],), 2)
"""


def test_ranks_draw_apart_of_one_stream(tmp_path):
    """40 equal draws of 9 classes have probability 9**-40."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    subprocess.run([sys.executable, script, tmp_path], check=True)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.equal(one["y"], other["y"])
    assert torch.equal(one["gradient"], other["gradient"])
    assert one["state"] == other["state"] == [1, 1]
