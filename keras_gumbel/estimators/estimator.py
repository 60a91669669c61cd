"""The base of estimators, and how a name becomes one."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import keras
from keras import ops

from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_backward_temperature,
    check_config,
    check_is_whole,
    deserialized,
    is_schedule,
)
from keras_gumbel.numerics import Draw, categorical


@dataclasses.dataclass(frozen=True, repr=False)
class Estimator(ABC):
    """Define how a hard sample is drawn, and what gradient stands in for it.

    Subclass it for an estimator of your own: write `backward`, and `forward`
    if the class is not drawn from one random number per row. "One's own" in
    the guide to the estimators is a worked example.

    Subclasses are frozen dataclasses whose fields are their whole
    configuration, so that they compare, hash, print and serialise by value.
    The methods run inside a compiled program, on float32 or float64 tensors.
    A forbidden class has a logit of -inf there.

    Write the rule for noise of scale 1. `scaled_backward` adapts it to a noise
    scale s: it calls the rule with logits / s and temperature / s, and divides
    the gradient by s. Without noise, s = 0, the rule is that of scale 1 at the
    likeliest class, and `draw.noise_scale` is 0.

    Gates, which are choices between 0 and 1, take their rule from `backward`.
    Write `backward_binary` as well where a formula of its own is faster.

    Args:
        backward_temperature: Positive number, the temperature of the backward
            rule. In a layer it may be a `LearningRateSchedule` of the
            training calls, in a function a scalar float tensor, which gets
            no gradient. `None` takes the temperature of the layer or of the
            call. Defaults to `None`.
    """

    name: ClassVar[str]
    # Whether the rule is right at every noise scale as it stands. A subclass
    # with a rule of its own must say so again.
    knows_scale: ClassVar[bool] = False

    backward_temperature: float | Tensor | LearningRateSchedule | None = (
        dataclasses.field(default=None, kw_only=True)
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        own = deserialized(self.backward_temperature)
        if own is not None:
            check_backward_temperature(own)
            object.__setattr__(self, "backward_temperature", own)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A `backward` of one's own is that of gates too, none inherited."""
        super().__init_subclass__(**kwargs)
        own = {"backward", "backward_binary"} & vars(cls).keys()
        if own and "knows_scale" not in vars(cls):
            cls.knows_scale = False
        if "backward" in vars(cls) and "backward_binary" not in vars(cls):
            cls.backward_binary = Estimator.backward_binary  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """The settings that are not the defaults."""
        settings = ", ".join(
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if _differs(getattr(self, field.name), field.default)
        )
        return f"{type(self).__name__}({settings})"

    @property
    def draws_the_class(self) -> bool:
        """Whether `forward` is the one below: no noise, nothing kept."""
        return type(self).forward is Estimator.forward

    def forward(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """Draw the class of each row, and return what `backward` needs of it.

        Args:
            draw: What to draw from. `draw.logits()` are the logits, and
                `draw.axis` is the category axis; `draw.noise_scale` is a
                scalar.

        Returns:
            The choice, an int32 tensor of class indices with size 1 along the
            axis; and a residual for `backward`, or None. A residual must move
            one for one with the logits, as perturbed logits do: second
            derivatives rely on it. Here the choice is drawn from one random
            number per row, and there is no residual.
        """
        return categorical.sample(draw), None

    @abstractmethod
    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient to the logits, and that to the temperature.

        Args:
            draw: As in `forward`.
            kept: The residual of `forward`, or the logits if it returned
                None.
            choice: The class indices of `forward`, with size 1 along the
                axis.
            temperature: Tensor that broadcasts to the logits.
            dy: The loss's gradient at the one-hot sample, shaped as the
                logits.

        Returns:
            The gradient to the logits; and terms that broadcast to the logits
            and sum to the gradient of the temperature (zeros if it has none).
        """

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the two gradients for gates, as `backward` does for classes.

        A gate is 1 where its `perturbed` logit is positive. It is a choice
        between two classes with the logits 0 and its own; `dy` is the gradient
        at the second. `draw.logits()` and `perturbed`, which moves one for one
        with them, are finite or NaN.
        """
        axis = len(perturbed.shape)
        pair = draw._replace(logits=lambda: _pair(draw.logits()), axis=axis)
        # If `forward` keeps anything, perturbed logits. It draws nothing here:
        # of what it computes, no result is read.
        _, kept = self.forward(pair)
        x = draw.logits() if kept is None else perturbed
        choice = ops.cast(perturbed > 0, "int32")
        choice = ops.where(ops.isnan(perturbed), -1, choice)
        d_pair, parts = self.backward(
            pair,
            _pair(x),
            ops.expand_dims(choice, axis),
            ops.expand_dims(temperature, -1),
            _pair(dy),
        )
        return d_pair[..., 1], ops.sum(parts, axis=-1)

    def scaled_backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """`backward` at any noise scale."""
        if self.knows_scale:
            return self.backward(draw, kept, choice, temperature, dy)
        s = draw.scale_of_law()
        found = self.backward(
            draw.of_scale_one(), kept / s, choice, temperature / s, dy
        )
        return found[0] / s, found[1] / s

    def scaled_backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`backward_binary` at any noise scale."""
        if self.knows_scale:
            return self.backward_binary(draw, perturbed, temperature, dy)
        s = draw.scale_of_law()
        found = self.backward_binary(
            draw.of_scale_one(), perturbed / s, temperature / s, dy
        )
        return found[0] / s, found[1] / s

    def at(self, temperature: Tensor | None) -> Self:
        """The same rule, at a temperature of its own; None for the call's."""
        rule = copy.copy(self)
        object.__setattr__(rule, "backward_temperature", temperature)
        return rule

    def get_config(self) -> dict[str, Any]:
        """The fields by name, less those that the class itself sets."""
        given = (x.name for x in dataclasses.fields(self) if x.init)
        config = {name: getattr(self, name) for name in given}
        own = self.backward_temperature
        if is_schedule(own):
            own = keras.saving.serialize_keras_object(own)
            config["backward_temperature"] = own
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `get_config`."""
        check_config(cls, config)
        estimator = cls(**config)
        check_is_whole(estimator, config)
        return estimator


def _differs(value: Any, default: Any) -> bool:
    # A tensor is not to be compared with None.
    return value is not default and (default is None or value != default)


def _pair(x: Tensor) -> Tensor:
    """(0, x), along an axis of their own."""
    return ops.stack([ops.zeros_like(x), x], axis=-1)


_BY_NAME: dict[str, type[Estimator]] = {}


def register(cls: type[Estimator]) -> type[Estimator]:
    """Make an estimator known by its name, and to Keras's serialisation."""
    _BY_NAME[cls.name] = cls
    keras.saving.register_keras_serializable(package="keras_gumbel")(cls)
    return cls


def names() -> tuple[str, ...]:
    """Return the names that `get` knows, in the order of registration."""
    return tuple(_BY_NAME)


def get(identifier: str | dict[str, Any] | Estimator) -> Estimator:
    """The estimator of a name, of a serialised form, or the object itself.

    Args:
        identifier: A name such as `"st_gumbel"`, the result of `serialize`,
            or an estimator.

    Returns:
        An estimator. By name: with its default settings.

    Raises:
        ValueError: For a name that is not known, or a serialised form of
            something else.
        TypeError: For anything else.

    Example:

    >>> import keras_gumbel as kg
    >>> kg.estimators.get("st_gumbel")
    StraightThroughGumbel()
    """
    if isinstance(identifier, Estimator):
        return identifier
    if isinstance(identifier, dict):
        estimator = deserialized(identifier)
        if isinstance(estimator, Estimator):
            return estimator
    elif not isinstance(identifier, str):
        raise TypeError(
            "`estimator` must be a name or an object of "
            "`keras_gumbel.estimators`. "
            f"Received: estimator={identifier!r}"
        )
    elif identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    raise ValueError(
        f"`estimator` must be one of {sorted(_BY_NAME)} or an object of "
        f"`keras_gumbel.estimators`. Received: estimator={identifier!r}"
    )


def serialize(estimator: Estimator) -> str | dict[str, Any]:
    """The name where the settings are the defaults, otherwise a dict.

    Args:
        estimator: An object of `keras_gumbel.estimators`, or of a subclass
            registered with Keras.

    Returns:
        What `get` takes back.
    """
    known = _BY_NAME.get(estimator.name)
    if known is type(estimator) and estimator == known():
        return estimator.name
    config: dict[str, Any] = keras.saving.serialize_keras_object(estimator)
    return config
