"""The description of a training run, which tells it from another."""

import dataclasses
import hashlib
import json
import numbers
import uuid
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from keras_gumbel._validation import layers_inside

# Keras draws names and seeds as it makes a model, so they do not describe it;
# the code of a function has no text that is the same twice.
_ACCIDENTAL = {
    "build_config",
    "closure",
    "code",
    "module",
    "name",
    "registered_name",
    "seed",
    "shared_object_id",
}
_LONG = 16


class _Trained(NamedTuple):
    """A run as this process knows it: its model, and how it ended."""

    model: "weakref.ref[keras.Model]"
    weights_at_end: str | None


_HERE: dict[str, _Trained] = {}


@dataclasses.dataclass(frozen=True)
class Run:
    """A backup's description of its run.

    Attributes:
        id: Identifier of this run; None in folders of older versions.
        name: The user's name for it, or None.
        epochs: The planned number of epochs; None if it is not known.
        looks: Description of the model before training, see `looks_of`.
    """

    id: str | None = None
    name: Any = None
    epochs: int | None = None
    looks: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def begun(
        cls, model: keras.Model, name: Any, params: dict[str, Any]
    ) -> Self:
        """Describe a new run."""
        looks = looks_of(model, params.get("steps"))
        return cls(uuid.uuid4().hex, name, params.get("epochs"), looks)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Return it as text, readable for people too."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    def began_here(self, model: keras.Model) -> None:
        """Record that this model trains the run, which has not ended."""
        if self.id is not None:
            _HERE[self.id] = _Trained(weakref.ref(model), None)

    def ended_here(self, model: keras.Model) -> None:
        """Record the weights of the model at the end of the run."""
        if self.id is not None:
            _HERE[self.id] = _Trained(weakref.ref(model), _digest(model))

    def differences(
        self,
        new: "Run",
        model: keras.Model,
        epochs_done: int,
        ended: bool,
    ) -> Iterator[str]:
        """Yield the reasons why the new run may not be this one.

        Args:
            new: The new run, as it begins.
            model: The model that the new run trains.
            epochs_done: The number of epochs that this run has completed.
            ended: Whether `fit` came to its end after them.
        """
        if self.id is None:
            return
        here = _HERE.get(self.id)
        same_model = here is not None and here.model() is model
        left = new.epochs is None or new.epochs > epochs_done
        if self.name != new.name:
            yield f"its run is {self.name!r}, and not {new.name!r}"
        if ended and here is not None and not same_model:
            yield "this process has trained it to its end with another model"
        elif ended and here is not None:
            if here.weights_at_end != _digest(model):
                yield "the model's weights have changed since its end"
            if not left:
                yield f"it has all {epochs_done} epochs behind it already"
        elif ended and new.name is None:
            yield "it came to its end, and has no name that this one has too"
        elif not (left or new.epochs == self.epochs or new.name is not None):
            yield f"it has {epochs_done} epochs behind it already"
        if not same_model:
            yield from _unlike(self.looks, new.looks)


def check_name(name: Any) -> Any:
    """Return a name that a file can hold: text, a number, lists or dicts."""
    try:
        return json.loads(json.dumps(name))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`run` must be a name of the run: text, a number, or a list or a "
            "dict of such, as JSON holds them. "
            f"Received: run={name!r} (of type {type(name).__name__})"
        ) from error


def looks_of(model: keras.Model, steps: int | None) -> dict[str, str]:
    """Describe a model before it trains, the same each time it is made.

    It tells different models apart, but not two runs of one: folds differ by
    their data, which a callback does not see.
    """
    layers = layers_inside(model)
    optimizer = getattr(model, "optimizer", None)
    looks = {
        "layers": ", ".join(type(layer).__name__ for layer in layers),
        "weights": ", ".join(
            f"{w.dtype}{list(w.shape)}" for w in model.weights
        ),
        "optimizer": type(optimizer).__name__,
        "steps": str(steps),
    }
    looks.update(_flat("optimizer", _config(optimizer)))
    looks.update(_flat("loss", getattr(model, "loss", None)))
    for at, layer in enumerate(layers):
        place = f"layer {at} ({type(layer).__name__})"
        looks[f"{place} dtype"] = str(layer.dtype_policy.name)
        # A model's configuration repeats its layers', with their names.
        if not isinstance(layer, keras.Model):
            looks.update(_flat(place, _config(layer)))
    return looks


def _config(owner: Any) -> dict[str, Any]:
    try:
        return dict(owner.get_config())
    except Exception:  # a user's class may have no configuration to compare
        return {}


def _flat(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every number and word in it, by its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _ACCIDENTAL:
                yield from _flat(f"{place} {key}", inner)
    elif isinstance(value, list | tuple) and len(value) <= _LONG:
        for at, inner in enumerate(value):
            yield from _flat(f"{place} {at}", inner)
    elif isinstance(value, list | tuple):
        yield place, f"{len(value)} values"
    elif value is None or isinstance(value, str | numbers.Number):
        yield place, str(value)
    else:
        # The text of an object may hold its address in memory.
        yield place, getattr(value, "__name__", type(value).__name__)
        yield from _flat(place, _config(value))


def _unlike(then: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    """Yield the first differences; ignore entries that only one has.

    Another version may have other settings; another kind of layer shows in
    the list of layers.
    """
    shared = [key for key in then if key in now and then[key] != now[key]]
    for key in shared[:3]:
        what = "its weights could not be loaded" if key == "weights" else key
        yield f"{what}: {then[key]} then, {now[key]} now"


def _digest(model: keras.Model) -> str:
    """Return a digest of what trains: inference may move the rest."""
    digest = hashlib.blake2b()
    for variable in model.trainable_variables:
        digest.update(ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()
