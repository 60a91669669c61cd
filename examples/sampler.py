"""A sampler for language models: temperature, top-k, and a seed that holds.

It takes any causal Keras model, from token ids to logits. The same seed writes
the same text, in eager code and compiled.
"""

import keras
import numpy as np
from keras import layers, ops

import keras_gumbel as kg

TEXT = "she sells sea shells on the sea shore. " * 100
LETTERS = sorted(set(TEXT))
IDS = np.array([LETTERS.index(letter) for letter in TEXT])


class Sampler:
    def __init__(self, temperature=1.0, top_k=None, seed=None):
        self.temperature, self.top_k = temperature, top_k
        self.noise = keras.random.SeedGenerator(seed)

    def next_token(self, logits):
        kept = None
        if self.top_k is not None:
            kept = logits >= ops.top_k(logits, self.top_k)[0][..., -1:]
        # Noise of scale T: a draw from softmax(logits / T); argmax at T = 0.
        return kg.ops.sample_argmax_index(
            logits,
            hard=True,
            class_mask=kept,
            noise_scale=self.temperature,
            seed=self.noise,
        )

    def generate(self, model, prompt, count):
        window = text = prompt
        for _ in range(count):
            token = self.next_token(model(window)[:, -1])
            token = ops.cast(token[:, None], text.dtype)
            text = ops.concatenate([text, token], axis=1)
            # As long as before, so that nothing is compiled anew.
            window = ops.concatenate([window[:, 1:], token], axis=1)
        return text


keras.utils.set_random_seed(0)
size = len(LETTERS)
reads = [layers.Embedding(size, 16), layers.GRU(64, return_sequences=True)]
model = keras.Sequential([*reads, layers.Dense(size)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.01), loss)
windows = np.lib.stride_tricks.sliding_window_view(IDS, 17)
model.fit(windows[:, :-1], windows[:, 1:], batch_size=64, epochs=3, verbose=0)

prompt = ops.convert_to_tensor(windows[:3, :8], "int32")
for temperature in (0.0, 1.0, 3.0):
    written = Sampler(temperature, seed=1).generate(model, prompt, 40)
    line = (LETTERS[token] for token in ops.convert_to_numpy(written)[0])
    print(temperature, "".join(line))
