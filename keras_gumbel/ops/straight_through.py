"""The straight-through trick."""

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import dense


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the value of `hard` with the gradient of `soft`.

        forward:  hard, bit for bit
        backward: the gradient goes to `soft` unchanged, and not to `hard`

    Args:
        hard: Tensor, the value to use.
        soft: Float tensor of the same shape, the surrogate to differentiate.

    Returns:
        A tensor equal to `hard`, in its dtype. The gradient is biased unless
        the loss is linear in it.

    Raises:
        ValueError: If the shapes differ.
        TypeError: For ragged or sparse tensors.
        TypeError: For the inputs of a Functional model, which are not tensors
            yet: call it in a layer.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> soft = keras.ops.convert_to_tensor([0.2, 0.8])
    >>> y = kg.ops.straight_through(keras.ops.round(soft), soft)
    >>> keras.ops.convert_to_numpy(y).tolist()
    [0.0, 1.0]

    Reference:
        Bengio, Leonard, Courville, "Estimating or Propagating Gradients
        Through Stochastic Neurons", 2013, https://arxiv.org/abs/1308.3432
    """
    hard, soft = dense(hard, "hard"), dense(soft, "soft")
    shapes = backend.static_shape(hard), backend.static_shape(soft)
    sizes = zip(*shapes, strict=False)
    if len(hard.shape) != len(soft.shape) or any(
        a != b and a is not None and b is not None for a, b in sizes
    ):
        raise ValueError(
            "`hard` and `soft` must have the same shape. Received: hard of "
            f"shape {tuple(hard.shape)}, soft of shape {tuple(soft.shape)}"
        )
    return backend.straight_through(hard, soft)
