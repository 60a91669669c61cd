"""Anneal the temperature, so that training and use agree.

Soft samples are blends, and a network learns to send more through them than
one class can carry. A temperature that falls in training closes the gap between
soft samples in training and hard samples in use.
"""

import keras
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_gumbel as kg

x = load_digits().data.astype("float32") / 16
EPOCHS, BATCH = 20, 64
STEPS = EPOCHS * -(-len(x) // BATCH)


def network(temperature=1.0):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    hidden = layers.Dense(64, "relu")(inputs)
    logits = layers.Reshape((6, 4))(layers.Dense(6 * 4)(hidden))
    encoder = keras.Model(inputs, logits)
    choice = kg.GumbelSoftmax(temperature, name="code")
    decode = [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(64)]
    model = keras.Sequential([encoder, choice, *decode])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return model


def losses(model):
    """With soft samples, as trained, and with hard ones, as used."""
    encoder, choice, *decode = model.layers
    logits = encoder(x)
    soft = choice(logits, training=True)
    hard = kg.ops.gumbel_softmax(logits, hard=True)
    decoder = keras.Sequential(decode)
    return [float(ops.mean((decoder(z) - x) ** 2)) for z in (soft, hard)]


# Any schedule of Keras will do: here a cosine from 1 to 0.1, step by step.
cosine = keras.optimizers.schedules.CosineDecay(1.0, STEPS, alpha=0.1)

# From outside: a callback, which also writes the temperature to the logs.
annealed = network()
anneal = kg.TemperatureScheduler(cosine, layers=["code"])
history = annealed.fit(x, x, BATCH, EPOCHS, callbacks=[anneal], verbose=0)
# From inside: a layer that counts its own training calls.
inside = network(cosine)
inside.fit(x, x, BATCH, EPOCHS, verbose=0)
constant = network()
constant.fit(x, x, BATCH, EPOCHS, verbose=0)

models = {"constant": constant, "annealed": annealed, "inside": inside}
found = {name: losses(model) for name, model in models.items()}
for name, (soft, hard) in found.items():
    print(f"{name:9} loss {soft:.4f} soft, {hard:.4f} hard")
