"""What an estimator is, and how a name becomes one."""

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import keras

from keras_gumbel import choices
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_positive
from keras_gumbel.formulas import Draw


@dataclasses.dataclass(frozen=True, repr=False)
class Estimator(ABC):
    """A hard sample's forward law, and the backward rule that stands in.

    Subclasses are frozen dataclasses whose fields are their whole
    configuration, so that they compare, hash, print and serialise by value.
    Both methods run inside a compiled program, on float32 or float64 tensors
    in which a forbidden class is -inf.

    Args:
        backward_temperature: Positive number, the temperature of the backward
            rule. `None`: that of the layer or of the call. Defaults to
            `None`.
    """

    name: ClassVar[str]

    backward_temperature: float | None = dataclasses.field(
        default=None, kw_only=True
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.backward_temperature is not None:
            check_positive(self.backward_temperature, "backward_temperature")

    def __repr__(self) -> str:
        """The settings that are not the defaults."""
        settings = ", ".join(
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({settings})"

    def forward(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """The choice, of `keras_gumbel.choices`, and what else is to be kept.

        What is kept, besides logits and choice, is a tensor that moves one
        for one with the logits, so that second derivatives are right. Here a
        class of the law, from one random number a row, and nothing.
        """
        return choices.sample(draw), None

    @abstractmethod
    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The gradient to the logits, and the parts of the temperature's.

        The parts broadcast to the logits, and are summed to the temperature.
        `kept` is the logits where `forward` kept nothing else, `dy` the
        gradient at the one-hot sample.
        """

    def get_config(self) -> dict[str, Any]:
        """The fields, by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `get_config`."""
        return cls(**config)


_BY_NAME: dict[str, type[Estimator]] = {}


def register(cls: type[Estimator]) -> type[Estimator]:
    """Make an estimator known by its name, and to Keras's serialisation."""
    _BY_NAME[cls.name] = cls
    keras.saving.register_keras_serializable(package="keras_gumbel")(cls)
    return cls


def names() -> tuple[str, ...]:
    """What `get` knows, in the order of registration."""
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
        estimator = keras.saving.deserialize_keras_object(identifier)
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
