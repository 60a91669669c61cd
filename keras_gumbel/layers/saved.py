"""The files of a layer: live numbers and the stream, by name."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_gumbel._validation import check_integer, check_stream
from keras_gumbel.layers import stored, stream
from keras_gumbel.layers.live_scalar import LiveScalar
from keras_gumbel.ops.checkpoints import state_of


class SavedLayer(keras.Layer):
    """Base of the layers whose files name live numbers and the stream."""

    # In the order of files of version 0.1, where the noise scale was not live.
    _live_names: ClassVar[tuple[str, ...]] = ("temperature", "noise_scale")

    _live: dict[str, LiveScalar]
    _iterations: keras.Variable | None
    noise_scale: Any
    seed_generator: keras.random.SeedGenerator

    def _stored_weights(self) -> dict[str, keras.Variable]:
        """Return the weights by their keys in a file, in order."""
        in_order: dict[str, keras.Variable] = {}
        super().save_own_variables(in_order)
        weights = list(in_order.values())
        names = {id(live.variable): name for name, live in self._live.items()}
        names[id(self._iterations)] = stored.ITERATIONS
        names.update({id(x): name for name, x in self._named_states().items()})
        return dict(zip(stored.keys(weights, names), weights, strict=True))

    def _named_states(self) -> dict[str, keras.Variable]:
        """Return weights that files of earlier versions lack, by name."""
        return {}

    def save_own_variables(self, store: Any) -> None:
        """Save live scalars and the stream by name, other weights by number."""
        for key, variable in self._stored_weights().items():
            store[key] = variable
        store[stored.NOISE_SCALE] = self.noise_scale
        store[stream.KEY] = state_of(self.seed_generator)

    def load_own_variables(self, store: Any) -> None:
        """Load the weights, and continue the stream where it was.

        A live scalar that the file lacks stays as it is; one that the layer
        lacks is left out. The same holds for the count of training calls.
        """
        # Keras hands over a dict-like object that can only list its keys.
        found = {key: store[key] for key in list(store.keys())}
        state = found.pop(stream.KEY, None)
        scale = found.pop(stored.NOISE_SCALE, None)
        weights = self._stored_weights()
        scalars = [x for x in self._live_names if x != stored.NOISE_SCALE]
        found = stored.named(found, weights, scalars)
        optional = {*scalars, *self._live, stored.ITERATIONS}
        optional |= self._named_states().keys()
        super().load_own_variables(stored.numbered(found, weights, optional))
        if scale is not None:
            self.noise_scale.assign(scale)
        check_stream(state)
        self.seed_generator.state.assign(state)
        for live in self._live.values():
            live.check(float(ops.convert_to_numpy(live.variable)))
        if self._iterations is not None:
            count = int(ops.convert_to_numpy(self._iterations))
            check_integer(count, stored.ITERATIONS, minimum=0)
