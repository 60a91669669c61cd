"""The base class of estimators, and how a name becomes one."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import keras
from keras import ops

from keras_gumbel import backend
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
    """Base class of estimators: how a hard sample is drawn, and its gradient.

    Subclass it for an estimator of your own: write `backward`, and `forward`
    if the class is not drawn from one random number per row. "One's own" in
    the guide to the estimators is a worked example.

    Subclasses are frozen dataclasses whose fields are their whole
    configuration, so that they compare, hash, print and serialise by value.
    The methods run inside a compiled program, on float32 or float64 tensors.
    A forbidden class has a logit of -inf there.

    Write the rule for noise of scale 1. `scaled_backward` adapts it to a noise
    scale s: it calls the rule with logits / s and temperature / s, and divides
    the gradient by s. Without noise, s = 0, it calls the rule for scale 1 at
    the likeliest class, with a `draw.noise_scale` of 0.

    Gates, which are choices between 0 and 1, take their rule from `backward`.
    Write `backward_binary` as well if a formula of its own is faster.

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
        """Let a subclass's `backward` define gates too, not its parent's."""
        super().__init_subclass__(**kwargs)
        own = {"backward", "backward_binary"} & vars(cls).keys()
        if own and "knows_scale" not in vars(cls):
            cls.knows_scale = False
        if "backward" in vars(cls) and "backward_binary" not in vars(cls):
            cls.backward_binary = Estimator.backward_binary  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Return the settings that are not the defaults."""
        settings = ", ".join(
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if _differs(getattr(self, field.name), field.default)
        )
        return f"{type(self).__name__}({settings})"

    @property
    def draws_the_class(self) -> bool:
        """Return whether `forward` is the one below: no noise, no residual."""
        return type(self).forward is Estimator.forward

    def forward(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """Draw the class of each row, and return a residual for `backward`.

        Args:
            draw: The source of the sample. `draw.logits()` are the logits,
                `draw.axis` is the category axis, and `draw.noise_scale` is a
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
        """Return the gradients to the logits and to the temperature.

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
        # The only residual of `forward` is perturbed logits. This call asks
        # whether there is one; its value is not read, so nothing is drawn.
        _, kept = self.forward(pair)
        x = draw.logits() if kept is None else perturbed
        choice = ops.cast(perturbed > 0, "int32")
        choice = ops.where(backend.isnan(perturbed), -1, choice)
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
        """Run `backward` at any noise scale."""
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
        """Run `backward_binary` at any noise scale."""
        if self.knows_scale:
            return self.backward_binary(draw, perturbed, temperature, dy)
        s = draw.scale_of_law()
        found = self.backward_binary(
            draw.of_scale_one(), perturbed / s, temperature / s, dy
        )
        return found[0] / s, found[1] / s

    def at(self, temperature: Tensor | None) -> Self:
        """Return the same rule at its own temperature; None for the call's."""
        rule = copy.copy(self)
        object.__setattr__(rule, "backward_temperature", temperature)
        return rule

    def get_config(self) -> dict[str, Any]:
        """Return the fields by name, except fields that the class sets."""
        given = (x.name for x in dataclasses.fields(self) if x.init)
        config = {name: getattr(self, name) for name in given}
        own = self.backward_temperature
        if is_schedule(own):
            own = keras.saving.serialize_keras_object(own)
            config["backward_temperature"] = own
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the estimator from the result of `get_config`."""
        check_config(cls, config)
        estimator = cls(**config)
        check_is_whole(estimator, config)
        return estimator


def _differs(value: Any, default: Any) -> bool:
    # This never compares a tensor with None.
    return value is not default and (default is None or value != default)


def _pair(x: Tensor) -> Tensor:
    """Return (0, x), along a new last axis."""
    return ops.stack([ops.zeros_like(x), x], axis=-1)


_BY_NAME: dict[str, type[Estimator]] = {}


def register(cls: type[Estimator]) -> type[Estimator]:
    """Register an estimator by its name, and for Keras's serialisation."""
    _BY_NAME[cls.name] = cls
    keras.saving.register_keras_serializable(package="keras_gumbel")(cls)
    return cls


def names() -> tuple[str, ...]:
    """Return the names that `get` knows, in the order of registration."""
    return tuple(_BY_NAME)


def get(identifier: str | dict[str, Any] | Estimator) -> Estimator:
    """Return the estimator for a name, a serialised form or an object.

    Args:
        identifier: A name such as `"st_gumbel"`, the result of `serialize`,
            or an estimator.

    Returns:
        An estimator; for a name, with its default settings.

    Raises:
        ValueError: For an unknown name, or a serialised form of something
            else.
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
    """Return the name if all settings are the defaults, otherwise a dict.

    Args:
        estimator: An object of `keras_gumbel.estimators`, or of a subclass
            registered with Keras.

    Returns:
        An identifier for `get`.
    """
    known = _BY_NAME.get(estimator.name)
    if known is type(estimator) and estimator == known():
        return estimator.name
    config: dict[str, Any] = keras.saving.serialize_keras_object(estimator)
    return config
