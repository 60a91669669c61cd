"""Noise, block by block, so that a block's buffers stay in cache.

Threefry takes a hundred operations per number, and each would go through
memory. The arithmetic is from `backend/threefry.py`, in place, with the same
bits; the formulas are from `numerics/noise.py`.
"""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from keras.src.backend.torch.core import to_torch_dtype

from keras_gumbel._typing import Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.backend.torch.kernels import fused

# Below the size that torch shares among threads, which would wait for each
# other after every operation.
BLOCK = 2**15 - 64
_WORD = 2**32


class _Buffers(threading.local):
    """Each thread's buffers, in which blocks are made."""

    def __init__(self) -> None:
        self.number = torch.arange(BLOCK, dtype=torch.int32)
        self.words = torch.empty(3, BLOCK, dtype=torch.int32)


_BUFFERS = _Buffers()

# The right shifts, and the masks that remove the sign from the results. torch
# would make a tensor of a Python number, and cast it, each time.
_TURNS = {
    turn: (
        torch.tensor(32 - turn, dtype=torch.int32),
        torch.tensor(2**turn - 1, dtype=torch.int32),
    )
    for turns in threefry.ROTATIONS
    for turn in turns
}


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Share no operation among threads in this context.

    torch would share logarithms, of blocks too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def drawn(
    function: Callable[..., Tensor],
    shape: Sequence[int],
    key: Tensor,
    dtype: str,
    start: Tensor | int = 0,
) -> Tensor:
    """Return `function(shape, ...)`, a formula of `numerics/noise.py`."""
    if isinstance(start, torch.Tensor) and start.ndim:
        return function(shape, key, dtype, start)
    shape = tuple(shape)
    count = math.prod(shape)
    out = torch.empty(count, dtype=to_torch_dtype(dtype))
    fill = _FILL[function.__name__]
    for part, _, source in _parts(out, key, int(start)):
        fill(part, source)
    return out.reshape(shape)


def as_written(function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`, which has no faster way."""
    return function(*args)


def added(
    function: Callable[..., Tensor],
    draw: Any,
    noise: Callable[..., Tensor],
    then: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return `add_noise(draw, noise, then)`."""
    scale = float(draw.noise_scale)
    if scale == 0 or draw.sizes is not None:
        return function(draw, noise, *[] if then is None else [then])
    x = draw.logits()
    flat = x.reshape(-1)
    out = torch.empty_like(flat)
    fill, start = _FILL[noise.__name__], int(draw.places((-1,)))
    for part, block, source in _parts(out, draw.key, start):
        fill(part, source)
        if scale != 1:
            part *= scale
        part += flat[block]
        if then is not None:
            part.nan_to_num_(math.inf, math.inf, -math.inf)
    return out.reshape(x.shape)


# Fills a tensor with uniform numbers; given True, in (0, 1/2), with a coin.
_Source = Callable[..., Tensor]


def _parts(
    out: Tensor, key: Tensor, start: int
) -> Iterator[tuple[Tensor, slice, _Source]]:
    """Yield blocks of `out`, their slices and sources of uniform numbers."""
    compiled = fused.pays(len(out))
    words = _key_words(key)
    size = fused.BLOCK if compiled else BLOCK
    # Threads share the kernel, and logarithms of its blocks.
    with contextlib.nullcontext() if compiled else _alone():
        for block, place in _blocks(len(out), start, size):
            part = out[block]
            if compiled:
                source = functools.partial(fused.fill, key=key, place=place)
            else:
                source = functools.partial(_fill, key=words, place=place)
            yield part, block, source


def _key_words(key: Tensor) -> tuple[int, int, int]:
    first, second = (int(word) % _WORD for word in key.tolist())
    return first, second, first ^ second ^ threefry.PARITY


def _blocks(count: int, start: int, size: int) -> Iterator[tuple[slice, int]]:
    """Yield runs of places with one high word, and their first places."""
    first = 0
    while first < count:
        place = start + first
        left = _WORD - place % _WORD
        last = min(first + size, first + left, count)
        yield slice(first, last), place
        first = last


def _signed(word: int) -> int:
    return (word & 0xFFFFFFFF ^ 2**31) - 2**31


def bits(count: int, key: tuple[int, int, int], place: int) -> list[Tensor]:
    """Return the words of `count` places from `place` on, and a buffer."""
    x, y, t = _BUFFERS.words[:, :count]
    torch.add(_BUFFERS.number[:count], _signed(place + key[0]), out=x)
    y.fill_(_signed((place >> 32) + key[1]))
    for group in range(5):
        for turn in threefry.ROTATIONS[group % 2]:
            shift, mask = _TURNS[turn]
            x += y
            torch.bitwise_right_shift(y, shift, out=t)
            t &= mask
            # The product is a left shift, in the same operation.
            torch.add(t, y, alpha=1 << turn, out=y)
            y ^= x
        x += _signed(key[(group + 1) % 3])
        y += _signed(key[(group + 2) % 3] + group + 1)
    return [x, y, t]


def _unsigned(word: Tensor, like: Tensor) -> Tensor:
    return word.view(torch.uint32).to(like.dtype)


def _below_one(dtype: torch.dtype) -> float:
    return 1 - torch.finfo(dtype).eps / 2


def _unit(out: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Fill in (bits + 1/2) / 2**64, below 1."""
    torch.mul(_unsigned(low, out), 2.0**-64, out=out)
    out += 2.0**-65
    # With a power of two the sum is rounded once, as in two operations.
    out.add_(_unsigned(high, out), alpha=2.0**-32)
    return out.clamp_(max=_below_one(out.dtype))


def _fill(
    out: Tensor, half: bool, key: tuple[int, int, int], place: int
) -> Tensor:
    """Fill in uniform numbers; if `half`, in (0, 1/2), with a coin, 0 or -1."""
    low, high, coin = bits(len(out), key, place)
    if not half:
        return _unit(out, low, high)
    torch.bitwise_right_shift(high, 31, out=coin)
    high <<= 1
    high -= low >> 31
    low <<= 1
    _unit(out, low, high).mul_(0.5)
    return coin


def _fill_unit(out: Tensor, source: _Source) -> Tensor:
    source(out, False)
    return out


def _fill_exponential(out: Tensor, source: _Source) -> Tensor:
    return _fill_unit(out, source).neg_().log1p_().neg_()


def _fill_gumbel(out: Tensor, source: _Source) -> Tensor:
    return _fill_exponential(out, source).log_().neg_()


def _fill_logistic(out: Tensor, source: _Source) -> Tensor:
    coin = source(out, True)
    size = torch.log1p(-out).sub_(out.log_())
    # The sign is -1 where the coin is, else 1.
    return torch.mul(size, coin.mul_(2).add_(1), out=out)


_FILL = {
    "random_unit": _fill_unit,
    "exponential": _fill_exponential,
    "gumbel": _fill_gumbel,
    "logistic": _fill_logistic,
}
