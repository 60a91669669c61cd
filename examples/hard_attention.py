"""Read exactly one word of a padded sentence, and never the padding.

One word of each sentence is a keyword, and the keyword is the answer. Attention
learns which word to read; `mask` forbids it the positions that hold padding.
"""

import keras
import numpy as np
from keras import layers, ops

import keras_gumbel as kg

VOCABULARY, KEYWORDS, LENGTH = 50, 4, 12  # word 0 is padding


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    words = rng.integers(1 + KEYWORDS, VOCABULARY, (count, LENGTH))
    length = rng.integers(2, LENGTH + 1, count)
    answer = rng.integers(KEYWORDS, size=count)
    words[np.arange(count), rng.integers(length)] = 1 + answer
    return np.where(np.arange(LENGTH) < length[:, None], words, 0), answer


words = keras.Input((LENGTH,), dtype="int32")
embed = layers.Embedding(VOCABULARY, 16, mask_zero=True)
vectors = embed(words)
scores = ops.squeeze(layers.Dense(1)(vectors), axis=-1)  # (batch, time)
attend = kg.GumbelSoftmax(temperature=0.5, hard=True)
position = attend(scores, mask=embed.compute_mask(words))  # one-hot over time
read = ops.einsum("bt,btd->bd", position, vectors)
answers = layers.Dense(KEYWORDS, "softmax")(read)
model = keras.Model(words, answers)

model.compile(
    keras.optimizers.Adam(0.01),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(*sentences(4000, seed=0), batch_size=64, epochs=12, verbose=0)
test, truth = sentences(1000, seed=1)
_, accuracy = model.evaluate(test, truth, verbose=0)
print(f"accuracy {accuracy:.3f} on sentences that were not trained on")

# What it reads is one word, in training as at inference.
attention = keras.Model(words, position)
sampled = ops.convert_to_numpy(attention(test, training=True))
print(f"{np.mean(sampled.sum(axis=-1) == 1):.0%} of samples read one word")
print(f"{sampled[test == 0].sum():.0f} read padding")
