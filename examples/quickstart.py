"""Describe each digit by one of 16 codes, and train through that choice."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_gumbel as kg

x = load_digits().data.astype("float32") / 16  # 1797 images of 8 x 8 pixels

encoder = keras.Sequential(
    [keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(16)]
)
choice = kg.GumbelSoftmax(hard=True)  # exactly one-hot, with a gradient
decoder = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(64)])
model = keras.Sequential([encoder, choice, decoder])

# Begin warm, where gradients are smooth, and cool down to 0.3.
schedule = kg.schedules.ExponentialAnnealing(1.0, decay_rate=2e-3, minimum=0.3)
model.compile(keras.optimizers.Adam(3e-3), "mse")
history = model.fit(
    x, x, epochs=20, callbacks=[kg.TemperatureScheduler(schedule)], verbose=0
).history
print(f"loss {history['loss'][0]:.3f} to {history['loss'][-1]:.3f}")
print(f"temperature {history['temperature'][-1]:.2f}")

# Inference draws no noise: a digit always has the same code.
one_hot = choice(encoder(x))
codes = np.argmax(one_hot, axis=-1)
restored = decoder(one_hot)
print(f"{len(np.unique(codes))} codes are in use")
