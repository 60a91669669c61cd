"""Blocks that run again in the backward pass, to save memory."""

import functools
from collections.abc import Callable
from typing import Any

from keras_gumbel import backend
from keras_gumbel._validation import check_are_values, check_function


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` run again in the backward pass, with the same draws.

    Use it in place of `keras.remat` (gradient checkpointing) around layers that
    sample. It stores no intermediate result of `function`, which the backward
    pass runs again: less memory, for the time of one more forward pass. The
    second run draws the same sample as the first:

        the noise has the keys of the first run, stored between the two;
        streams, counts of training calls and metrics move once per call;
        losses that sampling layers add are added once, with their gradient

    so the gradient equals the gradient without `remat`. `keras.remat` and
    `tf.recompute_grad` draw anew in the second run, and return the gradient of
    another sample.

    Args:
        function: A function, layer or model. It may take any structure of
            tensors and other arguments, and return any structure of tensors.
            Gradients go to the tensors among its arguments and to the
            variables within, not to other tensors that it refers to.

    Returns:
        A function of the same arguments, to be called in eager code, in a
        graph, or in the `call` of a layer.

    Raises:
        TypeError: If `function` is not callable, and when called with a
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

    # The returned function must not get a layer's attributes.
    @functools.wraps(function, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        check_are_values((args, kwargs))
        return recomputed(*args, **kwargs)

    return run
