"""Find out which pixels a classifier can do without, and remove them.

A gate on each pixel is learned together with the network; an open gate costs
`l0_weight`. Closed gates are exactly 0 at inference, so the smaller network
gives the same answers.
"""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_gumbel as kg

x, digits = load_digits(return_X_y=True)
x = x.astype("float32") / 16
train, test = slice(0, 1400), slice(1400, None)

gate = kg.HardConcreteGate(l0_weight=0.02)
hidden = layers.Dense(64, "relu")
output = layers.Dense(10, "softmax")
model = keras.Sequential([keras.Input((64,)), gate, hidden, output])
model.compile(
    keras.optimizers.Adam(0.01),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x[train], digits[train], epochs=50, verbose=0)
_, accuracy = model.evaluate(x[test], digits[test], verbose=0)

# An open gate need not be 1: it goes into the kernel.
gates = ops.convert_to_numpy(gate.gates())
kept = np.flatnonzero(gates)
kernel, bias = hidden.get_weights()
small_hidden = layers.Dense(64, "relu")
small = keras.Sequential([keras.Input((len(kept),)), small_hidden, output])
small_hidden.set_weights([(gates[:, None] * kernel)[kept], bias])

print(f"{len(kept)} of 64 pixels are left, accuracy {accuracy:.3f}")
before = model.predict(x[test], verbose=0)
after = small.predict(x[test][:, kept], verbose=0)
print(f"largest difference {np.abs(before - after).max():.0e}")
