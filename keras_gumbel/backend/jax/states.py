"""Pure versions of functions that change Keras variables."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import keras

# Keras keeps this private.
from keras.src.backend.common.stateless_scope import get_stateless_scope

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.jax.tensors import read


class _Scope(keras.StatelessScope):
    """A copy of the scope around it that records the variables used."""

    def __init__(self, values: Iterable[tuple[Any, Tensor]]) -> None:
        super().__init__(collect_losses=True, initialize_variables=False)
        around = get_stateless_scope()
        if around is not None:
            self.state_mapping.update(around.state_mapping)
        for variable, value in values:
            self.state_mapping[id(variable)] = value
        self.used: dict[int, Any] = {}
        self.changed: dict[int, Any] = {}

    def get_current_value(self, variable: Any) -> Tensor:
        self.used[id(variable)] = variable
        return super().get_current_value(variable)

    def add_update(self, update: tuple[Any, Tensor]) -> None:
        self.changed[id(update[0])] = update[0]
        super().add_update(update)


class Pure:
    """The pure version of a function of variables, such as streams.

    It is compiled once for all values of the variables.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._used: list[Any] | None = None
        self._program = jax.jit(self._run)

    def _run(self, values: list[Tensor], *args: Any) -> Any:
        """Return the result, and the values of the changed variables."""
        with _Scope(zip(self._used or [], values, strict=True)) as scope:
            result = self._function(*args)
            self._changed = list(scope.changed.values())
            self._found = list({**scope.used, **scope.changed}.values())
            after = [scope.get_current_value(x) for x in self._changed]
        return result, after

    def compiled(self, *args: Any) -> Any:
        """Run the function as a program, and change its variables."""
        return self._with_changes(self._program, args)

    def checkpointed(self, *args: Any) -> Any:
        """Do the same uncompiled; a gradient computes all of it again."""
        return self._with_changes(jax.checkpoint(self._run), args)

    def _with_changes(
        self, run: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        if self._used is None:
            # A run without values shows which variables it uses.
            jax.eval_shape(self._run, [], *args)
            self._used = self._found
        result, after = run([read(x) for x in self._used], *args)
        for variable, value in zip(self._changed, after, strict=True):
            variable.assign(value)
        return result
