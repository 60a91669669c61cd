"""Streams of random numbers, and counts that no two callers share."""

import math
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch

# Keras keeps these private. `seed=None` must use its own generator, so that
# `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.torch.core import get_device
from keras.src.random.seed_generator import global_seed_generator
from torch import distributed

# torch keeps these private.
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.distributed.nn.functional import all_reduce

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import replay, threefry
from keras_gumbel.backend.torch import checkpoints
from keras_gumbel.backend.torch.tensors import read

_PART = "_keras_gumbel_part"
_ONE_DRAW = (0, 1)
# Places of keys, above all that `set_apart` uses.
_REPLICAS, _EXAMPLES = 2**40, 2**50
_LOCK = threading.Lock()


def next_key(seed: Seed) -> Tensor:
    """Return the next draw's key: int64, shape (2,).

    The numbers are the seed and the count of draws. Their low words are
    Threefry's 64-bit key, so no two draws of a generator share one.
    """
    if torch.compiler.is_compiling():
        return _split(_drawn_key(seed))
    maps = _maps()
    # A function of `torch.func` may change only its arguments.
    with temporarily_clear_interpreter_stack():
        key = _split(_once(lambda: _drawn_key(seed)))
        if maps and not isinstance(seed, int | np.integer):
            return _mapped(key, maps[-1])
    return key


def _maps() -> list[Any]:
    """Return the calls of `torch.vmap` around this, innermost last."""
    return [
        _functorch.CVmapInterpreterPtr(x)
        for x in _functorch.get_interpreter_stack() or ()
        if x.key() == _functorch.TransformType.Vmap
    ]


def _once(decide: Callable[[], Tensor]) -> Tensor:
    """Return `decide()`, called once in the two runs of a block."""
    if torch.compiler.is_compiling():
        # The compiler makes the second run, from its trace.
        return decide()
    return replay.once(lambda: checkpoints.once(decide), None)


def _mapped(key: Tensor, vmap: Any) -> Tensor:
    """Return one key, or one per example, as its `randomness` asks."""
    if vmap.randomness() == _functorch.RandomnessType.Same:
        return key
    if vmap.randomness() == _functorch.RandomnessType.Error:
        raise ValueError(
            "A draw in `torch.vmap` must be said to be one for all examples or "
            "another for each: `torch.vmap(..., randomness='same')`, or "
            "'different'. Received: randomness='error', its default"
        )
    places = _EXAMPLES + 2 * torch.arange(vmap.batchSize())
    keys = torch.stack(threefry.bits_at(key, places), -1).to(torch.int64)
    return _functorch._add_batch_dim(keys, 0, vmap.level())


def _split(key: Tensor) -> Tensor:
    """Return this process's key, where several train one model."""
    rank, count = replica()
    return key if count == 1 else _part_key(key, _REPLICAS + rank)


def _drawn_key(seed: Seed) -> Tensor:
    if isinstance(seed, int | np.integer):
        key = torch.tensor([int(seed), 0], device=get_device())
        # With a constant, Inductor would draw as it compiles, for minutes.
        return _opaque(key) if torch.compiler.is_dynamo_compiling() else key
    if isinstance(seed, torch.Generator):
        return _drawn(seed, 2)
    generator = global_seed_generator() if seed is None else seed
    key = _fetched(generator.state, _ONE_DRAW).to(torch.int64)
    part = getattr(seed, _PART, None)
    return key if part is None else _part_key(key, part)


@torch.library.custom_op("keras_gumbel::opaque", mutates_args=())
def _opaque(x: torch.Tensor) -> torch.Tensor:
    """Copy `x`; a compiler knows only the copy's size."""
    return x.clone()


@_opaque.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def _drawn(generator: torch.Generator, count: int) -> Tensor:
    """Draw `count` words of 32 bits from a generator of torch's own."""
    return torch.randint(
        2**32, (count,), generator=generator, device=generator.device
    )


def is_key(seed: Any) -> bool:
    """Return whether it is a generator of torch's own."""
    return isinstance(seed, torch.Generator)


def integer_seed(seed: Seed) -> Seed:
    """Return `seed`, or an integer in place of a torch generator."""
    return int(_drawn(seed, 1)) if is_key(seed) else seed


def stream(seed: int | None) -> keras.random.SeedGenerator:
    """Return a generator that begins with a seed below 2**32.

    Keras keeps its state as int32, and refuses half of the seeds.
    """
    return keras.random.SeedGenerator(None if seed is None else _signed(seed))


def _signed(word: int) -> int:
    return (word ^ 2**31) - 2**31


def state_of(generator: keras.random.SeedGenerator) -> np.ndarray:
    """Return a stream's state for a file: two words without a sign."""
    state = keras.ops.convert_to_numpy(generator.state)
    return state.astype("int64") & 0xFFFFFFFF


def check_can_change(variable: keras.Variable) -> None:
    """Do nothing: torch itself raises where it cannot change."""


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """Return the value of `variable` and add `amount` in one step."""
    return _once(lambda: _fetched(variable, amount))


def _fetched(variable: keras.Variable, amount: int | tuple[int, ...]) -> Tensor:
    if torch.compiler.is_compiling():
        before = variable.value.detach().clone()
        variable.assign(before + torch.as_tensor(amount, dtype=before.dtype))
        return before
    with _LOCK:
        return _fetched_alone(variable, amount)


def _fetched_alone(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    if in_stateless_scope():
        before = keras.ops.convert_to_tensor(variable)
        added = torch.as_tensor(
            amount, dtype=before.dtype, device=before.device
        )
        variable.assign(before + added)
        return before
    state = variable.value
    # A function of `torch.func` may change only its arguments.
    with temporarily_clear_interpreter_stack(), torch.no_grad():
        before = state.detach().clone()
        added = torch.as_tensor(amount, dtype=state.dtype, device=state.device)
        state.add_(added)
    return before


def value_once(variable: keras.Variable) -> Tensor:
    """Return its value; in a block of `remat`, its value in the first run.

    A parameter does not change between the two runs.
    """
    value = read(variable)
    if value.requires_grad:
        return value
    return _once(value.clone)


def replica() -> tuple[int, int]:
    """Return this process's rank, and how many train one model."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def sum_over_replicas(x: Tensor) -> Tensor:
    """Return the sum of the `x` of all processes; all must call this."""
    return x if replica()[1] == 1 else all_reduce(x)


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Give it draws different from any other name's, or no name's.

    Files hold only its state, which does not depend on the name: two
    generators that are apart may be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Return whether `set_apart` was called with it."""
    return hasattr(generator, _PART)


def _part_key(key: Tensor, part: int) -> Tensor:
    return random_bits((2,), key, 2 * part)[0].to(torch.int64)


def random_bits(
    shape: Sequence[int], key: Tensor, start: Tensor | int = 0
) -> threefry.Words:
    """Return 64 random bits per number: two int32 words, the low one first.

    Args:
        shape: Integers.
        key: The key from `next_key`.
        start: The first number's place among the key's 2**64.
    """
    shape = tuple(shape)
    place = torch.arange(math.prod(shape), device=key.device) + start
    return threefry.bits_at(key, place.reshape(shape))
