"""Export a trained model, and serve it where keras_gumbel is not installed."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg

rng = np.random.default_rng(0)
x = rng.normal(size=(1024, 3)).astype("float32")
label = np.eye(3)[np.argmax(x + rng.gumbel(size=x.shape), axis=-1)]

# Whatever classes a model has learned, the export serves them in two ways.
logits = keras.layers.Dense(3)
choice = kg.GumbelSoftmax(hard=True)
model = keras.Sequential([keras.Input((3,)), logits, choice])
model.compile(keras.optimizers.Adam(0.05), "mse")
model.fit(x, label, epochs=20, verbose=0)

folder = Path(tempfile.mkdtemp())
kg.export.export_with_sampling(model, folder / "served")
# To train on, save it as Keras does: temperature and stream are in the file.
model.save(folder / "model.keras")

# A server needs these lines, and TensorFlow alone.
served = tf.saved_model.load(folder / "served")
likeliest = served.serve(x).numpy()  # always the same
sampled = served.sample(x).numpy()  # another draw at each call

print(f"{np.mean(likeliest == model.predict(x, verbose=0)):.0%} as in Keras")
print("shares of the likeliest classes:", likeliest.mean(axis=0).round(2))
print("shares of the samples:          ", sampled.mean(axis=0).round(2))
