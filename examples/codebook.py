"""A codebook of digits that stays alive: each becomes two integers."""

import keras
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_gumbel as kg

images = load_digits().data.astype("float32") / 16
train, test = images[:1500], images[1500:]

encoder = keras.Sequential([layers.Dense(128, "relu"), layers.Dense(32)])
# Two stages of 64 codes: one for the whole, and one for what it leaves.
codebook = kg.VectorQuantizer(64, num_stages=2, name="codes")
decoder = keras.Sequential([layers.Dense(128, "relu"), layers.Dense(64)])
model = keras.Sequential([keras.Input((64,)), encoder, codebook, decoder])

model.compile("adam", "mse")
history = model.fit(train, train, 100, epochs=20, verbose=0).history

# The logs say how many codes are in use: a collapse would show here.
for stage in (1, 2):
    used = history[f"codes_usage_{stage}"][-1]
    print(f"stage {stage}: {used:.0%} of its codes in use")

# Integers, to be stored, or learned by another model.
codes = codebook.encode(encoder(test))
restored = decoder(codebook.decode(codes))
error = float(ops.mean(ops.square(restored - test)))
print(f"mean square error from two integers: {error:.3f}")
