"""Forms that can leave TensorFlow, when an exporter traces a call.

The runtimes of other formats treat non-finite numbers as they like. LiteRT's
exponential and every runtime's maximum lose NaN. LiteRT writes infinite
constants as the largest number, to which infinity is not equal. For ONNX a
`where` becomes a sum of products with 0 and 1, unless one of its values is a
non-finite constant. So there we look for rows with NaN and mark them, and keep
the arithmetic between finite.
"""

from collections.abc import Callable

from keras import ops

from keras_gumbel import backend
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.dtypes import lowest
from keras_gumbel.numerics.elementwise import select
from keras_gumbel.numerics.masking import FORBIDDEN


def check_can_draw(name: str) -> None:
    """Raise if the layer of that name would draw, and the file cannot."""
    target = portable_format()
    if target is not None:
        backend.refuse_export(
            f"the format {target!r} has no random numbers that can be "
            "reproduced: export `keras_gumbel.export.with_seed_input(model)`, "
            "which draws by two integers that it is given, "
            "`keras_gumbel.export.with_noise_input(model)`, which takes the "
            "noise as an input, a model whose layers have `inference=None`, or "
            "the format 'tf_saved_model'. "
            f"Received: a sampling layer, {name!r}"
        )


def check_has_xor() -> None:
    """Raise if the file would draw by a key, and its opset cannot."""
    if not backend.exports_xor():
        backend.refuse_export(
            "a model that draws by a seed needs XOR of integers, which ONNX "
            "has from opset 18 on: pass `opset_version=18` to `export`, or "
            "`opset=18` to tf2onnx. Received: a lower one, or none"
        )


def check_precision(name: str, dtype: str) -> None:
    """Raise if the file lacks the dtype of the layer of that name."""
    target = portable_format()
    lacking = {"bfloat16"}
    if target == "litert":
        lacking |= {"float16", "float64"}
    if target is not None and dtype in lacking:
        backend.refuse_export(
            f"the format {target!r} has no arithmetic in {dtype}: what is "
            "written would not run. Export a model that was made in float32, "
            "with `set_weights(model.get_weights())`, or the format "
            f"'tf_saved_model'. Received: a layer, {name!r}, that computes in "
            f"{dtype}"
        )


def finite(x: Tensor, axis: int) -> Tensor:
    """Return `x`, with large numbers in place of infinity."""
    del axis
    # Far from the largest, so that differences are finite too.
    return ops.clip(x, lowest(x) / 4, -lowest(x) / 4)


def finite_if_empty(x: Tensor, axis: int) -> Tensor:
    """Return `finite(x, axis)`, but keep -inf in rows not all -inf."""
    forbidden = x <= FORBIDDEN
    some = ~ops.all(forbidden, axis=axis, keepdims=True)
    return ops.where(some & forbidden, float("-inf"), finite(x, axis))


def in_any_format(
    rule: Callable[[Tensor], Tensor],
    x: Tensor,
    axis: int,
    temperature: Tensor | None = None,
    prepare: Callable[[Tensor, int], Tensor] = finite,
) -> Tensor:
    """Return rule(x), also where infinity and NaN get lost.

    `rule` is a function of each row along `axis`, 0 at forbidden classes, and
    NaN where a row has NaN or +inf, or its `temperature`, if any, is NaN. In
    a portable format it is given `prepare(x, axis)`.
    """
    if portable_format() is None:
        return rule(x)
    y = select(x <= FORBIDDEN, 0.0, rule(prepare(x, axis)))
    return marked(y, x, axis, temperature)


def marked(
    y: Tensor,
    x: Tensor,
    axis: int | tuple[int, ...],
    temperature: Tensor | None = None,
) -> Tensor:
    """Return `y`, but NaN where `x` has NaN or +inf along `axis`.

    Also NaN where a temperature is given and NaN, and a class is allowed.
    """
    bad = ops.isnan(x) | (x > -lowest(x))
    bad = ops.any(bad, axis=axis, keepdims=True)
    if temperature is not None:
        some = ops.any(x > FORBIDDEN, axis=axis, keepdims=True)
        bad = bad | (ops.isnan(temperature) & some)
    return ops.where(bad, float("nan"), y)


def moderate(x: Tensor) -> Tensor:
    """Limit `x` to what every sigmoid takes: LiteRT's is NaN at 1e30."""
    if portable_format() is None:
        return x
    return ops.where(ops.isnan(x), x, ops.clip(x, -1e4, 1e4))
