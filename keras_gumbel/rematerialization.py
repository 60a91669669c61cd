"""Blocks that are run again in the backward pass, in place of being kept."""

import functools
from collections.abc import Callable
from typing import Any

from keras_gumbel import backend
from keras_gumbel._validation import check_are_values, check_function


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have `function` run again in the backward pass, with the same draws.

    Use it in place of `keras.remat` (gradient checkpointing) around layers that
    sample. It keeps nothing of what `function` computes for the backward pass,
    which runs it again: less memory, for the time of one more forward pass.
    Here the second run draws the same sample as the first:

        the keys of its noise are those of the first run, kept between the two;
        streams, counts of training calls and metrics move once a call;
        losses that sampling layers add are added once, with their gradient

    so that the gradient equals the one without `remat`. `keras.remat` and
    `tf.recompute_grad` draw anew in the second run, and give the gradient of
    another sample.

    Args:
        function: A function, layer or model. Call it with any structure of
            tensors and other arguments, and have any structure of tensors
            come of it. Gradients go to the tensors among its arguments and to
            the variables within, not to other tensors that it refers to.

    Returns:
        A function of the same arguments, to be called in eager code, in a
        graph, or in the `call` of a layer.

    Raises:
        TypeError: For what cannot be called, and when called with a
            `keras.Input`.
        ValueError: When called, if the function draws in a loop, a branch or a
            `tf.function` within it, as `keras.layers.RNN` does.

    Gradient:
        The gradient of `function`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> class Block(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(8)
    ...         self.choice = kg.GumbelSoftmax(hard=True, seed=0)
    ...         self.again = kg.remat(self.inner)
    ...     def inner(self, x, training=None):
    ...         return self.choice(self.dense(x), training=training)
    ...     def call(self, x, training=None):
    ...         return self.again(x, training=training)
    >>> model = keras.Sequential([keras.Input((4,)), Block()])
    >>> model.compile("sgd", "mse")
    >>> x = keras.ops.ones((6, 4))
    >>> _ = model.fit(x, keras.ops.ones((6, 8)), batch_size=2, verbose=0)
    >>> stream = model.layers[0].choice.seed_generator
    >>> keras.ops.convert_to_numpy(stream.state).tolist()  # three steps
    [0, 3]

    Reference:
        Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory
        Cost", 2016, https://arxiv.org/abs/1604.06174
    """
    check_function(function, "function")
    recomputed = backend.remat(function)

    # A layer's attributes are not those of what is given back.
    @functools.wraps(function, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        check_are_values((args, kwargs))
        return recomputed(*args, **kwargs)

    return run
