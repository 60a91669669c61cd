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

import numpy as np
import torch
from keras.src.backend.torch.core import to_torch_dtype

from keras_gumbel._typing import Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.backend.torch.kernels import fused
from keras_gumbel.backend.torch.kernels.memory import empty

# Below the size that torch shares among threads, which would wait for each
# other after every operation.
BLOCK = 2**15 - 64
_WORD = 2**32


class _Buffers(threading.local):
    """Each thread's buffers, in which blocks are made."""

    def __init__(self) -> None:
        self.number = np.arange(BLOCK, dtype=np.uint32)
        self.words = np.empty((3, BLOCK), np.uint32)
        self.coins = torch.from_numpy(self.words[2].view(np.int32))
        self._floats = np.empty((2, BLOCK))
        self._tensor = torch.from_numpy(self._floats[0])

    def floats(self, like: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Return two buffers as long as `like`; the first as a tensor too."""
        count, name = len(like), str(like.dtype)[6:]
        first, second = self._floats.view(name)[:, :count]
        return first, second, self._tensor.view(like.dtype)[:count]


_BUFFERS = _Buffers()

# The shifts of a rotation, to the left and to the right.
_TURNS = {
    turn: (np.uint32(turn), np.uint32(32 - turn))
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
    out = empty((count,), to_torch_dtype(dtype))
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
    out = empty(flat.shape, flat.dtype)
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


def bits(count: int, key: tuple[int, int, int], place: int) -> list[np.ndarray]:
    """Return the words of `count` places from `place` on, and a buffer."""
    x, y, t = _BUFFERS.words[:, :count]
    np.add(_BUFFERS.number[:count], (place + key[0]) % _WORD, x)
    y.fill(((place >> 32) + key[1]) % _WORD)
    for group in range(5):
        for turn in threefry.ROTATIONS[group % 2]:
            left, right = _TURNS[turn]
            np.add(x, y, x)
            np.right_shift(y, right, t)
            np.left_shift(y, left, y)
            np.bitwise_or(y, t, y)
            np.bitwise_xor(y, x, y)
        np.add(x, key[(group + 1) % 3], x)
        np.add(y, (key[(group + 2) % 3] + group + 1) % _WORD, y)
    return [x, y, t]


def _fill(
    out: Tensor, half: bool, key: tuple[int, int, int], place: int
) -> Tensor:
    """Fill in uniform numbers; if `half`, in (0, 1/2), with a coin, 0 or -1."""
    low, high, coin = bits(len(out), key, place)
    if half:
        np.right_shift(high.view(np.int32), 31, coin.view(np.int32))
        np.left_shift(high, 1, high)
        np.bitwise_or(high, low >> np.uint32(31), high)
        np.left_shift(low, 1, low)
    # (bits + 1/2) / 2**64, below 1.
    unit, more, tensor = _BUFFERS.floats(out)
    unit[:] = low
    unit *= 2.0**-64
    unit += 2.0**-65
    more[:] = high
    more *= 2.0**-32
    unit += more
    torch.clamp(tensor, max=1 - torch.finfo(out.dtype).eps / 2, out=out)
    if not half:
        return out
    out *= 0.5
    return _BUFFERS.coins[: len(out)]


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
