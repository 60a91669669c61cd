"""Bits by kernels: places, blocks, threads, and a compiler."""

import concurrent.futures

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg
from keras_gumbel.backend.torch.kernels import fused, noise
from keras_gumbel.numerics.noise import random_half, random_unit
from tests import reference

LAST = 2**32 - 1


def words(count, key, place):
    low, high, _ = noise.bits(count, key, place)
    low, high = low.astype("uint64"), high.astype("uint64")
    return low | high << np.uint64(32)


@pytest.mark.parametrize("seed", [0, 1, 2**31, LAST])
@pytest.mark.parametrize("start", [0, 2**32 - 300, 3 * 2**44 + 2**33 - 500])
def test_each_place_has_its_bits(seed, start):
    """Also where the low word of a place wraps around."""
    key = torch.tensor([seed, 7])
    found = np.concatenate(
        [
            words(block.stop - block.start, noise._key_words(key), place)
            for block, place in noise._blocks(1000, start, 512)
        ]
    )
    right = reference.random_bits(seed, 7, 1000, start)
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("draw", ["gumbel", "logistic"])
def test_blocks_are_the_formulas(dtype, draw, monkeypatch):
    """Over the ends of blocks, bit for bit what one formula gives."""
    function = {"gumbel": kg.ops.sample_gumbel}.get(draw)
    function = function or kg.ops.sample_logistic
    whole = function((5000,), dtype=dtype, seed=LAST)
    monkeypatch.setattr(noise, "BLOCK", 999)
    blocks = function((50, 100), dtype=dtype, seed=LAST)
    np.testing.assert_array_equal(blocks.reshape(-1), whole)
    key, place = torch.tensor([LAST, 0]), torch.arange(5000)
    # A place for each number: no kernel.
    if draw == "gumbel":
        t = random_unit((5000,), key, dtype, place)
        right = -torch.log(-torch.log1p(-t))
    else:
        t, negative = random_half((5000,), key, dtype, place)
        right = torch.log1p(-t) - torch.log(t)
        right = torch.where(negative, -right, right)
    np.testing.assert_array_equal(whole, right)


def test_threads_draw_apart():
    """Blocks of several threads do not share what they are made in."""
    seeds = range(8)

    def draw(seed):
        return kg.ops.sample_gumbel((100_000,), seed=seed)

    right = list(map(draw, seeds))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, seeds))
    for one, other in zip(found, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_two_threads_read_one_draw():
    stream = keras.random.SeedGenerator(0)

    def draw(_):
        return kg.ops.sample_gumbel((2,), seed=stream).tolist()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = set(map(tuple, pool.map(draw, range(200))))
    assert len(found) == 200
    assert stream.state.value.tolist() == [0, 200]


def test_how_many_threads_torch_has_stays():
    before = torch.get_num_threads()
    kg.ops.sample_gumbel((100_000,), seed=0)
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_compiler_changes_no_bit(dtype, monkeypatch):
    if not fused._works():
        pytest.skip("inductor has no compiler here")
    for function in (kg.ops.sample_gumbel, kg.ops.sample_logistic):
        for count in (5000, 300_001):
            monkeypatch.setenv(fused.SETTING, "0")
            right = function((count,), dtype=dtype, seed=LAST)
            monkeypatch.setenv(fused.SETTING, "1")
            assert fused.pays(count)
            found = function((count,), dtype=dtype, seed=LAST)
            np.testing.assert_array_equal(found, right)
