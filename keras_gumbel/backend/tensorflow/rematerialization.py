"""Blocks that run again in the backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# `tf` does not export the pause of all tapes.
from tensorflow.python.eager import record

from keras_gumbel._typing import Tensor
from keras_gumbel.backend import replay
from keras_gumbel.backend.masks import with_mask_of
from keras_gumbel.backend.tensorflow.streams import graph


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` run again in the backward pass, by the same decisions.

    Only its decisions and its arguments are kept between the passes.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        given = tf.nest.flatten((args, kwargs), expand_composites=True)
        places = [i for i, x in enumerate(given) if _is_tensor(x)]

        def block(tensors: Sequence[Tensor]) -> Any:
            leaves = [*given]
            for i, x in zip(places, tensors, strict=True):
                leaves[i] = x
            args_, kwargs_ = tf.nest.pack_sequence_as(
                (args, kwargs), leaves, expand_composites=True
            )
            return function(*args_, **kwargs_)

        return _run_twice(block, [given[i] for i in places])

    return run


def _run_twice(
    block: Callable[[Sequence[Tensor]], Any], tensors: Sequence[Tensor]
) -> Any:
    """Return `block(tensors)`; its gradient computes everything again."""
    around, first = replay.Surroundings(), replay.Run(graph())
    made: list[Any] = []

    def outgoing(run: replay.Run, tensors: Sequence[Tensor]) -> list[Tensor]:
        with run.active():
            made[:] = [block(tensors)]
        leaves = tf.nest.flatten(made[0], expand_composites=True)
        values = [tf.convert_to_tensor(x) for x in leaves if tf.is_tensor(x)]
        return values + [value for _, value in run.handed]

    @tf.custom_gradient
    def call(*tensors: Tensor) -> Any:
        def grad(*dys: Tensor, variables: Sequence[Any] = ()) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                inputs = _after(dys, tensors)
                learned = [x for x in inputs if x.dtype.is_floating]
                tape.watch([*learned, *variables])
                with around.again():
                    ys = outgoing(replay.Run(graph(), first.decided), inputs)
            known = [i for i, y in enumerate(ys) if y.dtype.is_floating]
            found = iter(
                tape.gradient(
                    [ys[i] for i in known],
                    [*learned, *variables],
                    [dys[i] for i in known],
                )
            )
            of_inputs = [
                next(found) if x.dtype.is_floating else None for x in inputs
            ]
            return (of_inputs, list(found)) if variables else of_inputs

        with record.stop_recording():
            return outgoing(first, tensors), grad

    results = iter(call(*tensors))
    leaves = [
        with_mask_of(x, next(results)) if tf.is_tensor(x) else x
        for x in tf.nest.flatten(made[0], expand_composites=True)
    ]
    for (take, _), value in zip(first.handed, results, strict=True):
        replay.hand_on(take, value)
    return tf.nest.pack_sequence_as(made[0], leaves, expand_composites=True)


def _is_tensor(x: Any) -> bool:
    # Variables get their gradients another way.
    return tf.is_tensor(x) and not isinstance(x, tf.Variable)


def _after(dys: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy the tensors, but only after `dys` exist.

    Otherwise a graph would keep the forward pass's results, and reuse them
    instead of computing them again.
    """
    copies = [tf.identity(x) for x in tensors]
    floats = [dy for dy in dys if dy.dtype.is_floating]
    if floats and not tf.executing_eagerly():
        # XLA drops control dependencies, and barriers on a CPU. It cannot know
        # that a number is not this one NaN.
        number = tf.reduce_max(tf.reshape(floats[0], [-1])[:1])
        bits = tf.bitcast(tf.cast(number, tf.float32), tf.int32)
        always = tf.not_equal(bits, 0x7FC5A5A5)
        copies = [tf.where(always, x, tf.zeros_like(x)) for x in copies]
    return list(map(with_mask_of, tensors, copies))
