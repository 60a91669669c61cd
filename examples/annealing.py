"""Anneal the temperature, so that training and use agree.

Soft samples are blends, and a network learns to send more through them than
one class can carry: it is worse once classes are hard. A temperature that falls
in training closes that gap.
"""

import keras
from keras import layers
from sklearn.datasets import load_digits

import keras_gumbel as kg

x = load_digits().data.astype("float32") / 16
EPOCHS, BATCH = 20, 32
STEPS = EPOCHS * len(x) // BATCH


def network(temperature=1.0):
    keras.utils.set_random_seed(0)
    choice = kg.GumbelSoftmax(temperature, inference="argmax", name="code")
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, "relu"),
            layers.Dense(6 * 4),
            layers.Reshape((6, 4)),
            choice,
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(64),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return model


def train(model, callbacks=()):
    fitted = model.fit(x, x, BATCH, EPOCHS, callbacks=[*callbacks], verbose=0)
    return fitted.history


# Any schedule of Keras will do: here a cosine from 1 to 0.1, step by step.
cosine = keras.optimizers.schedules.CosineDecay(1.0, STEPS, alpha=0.1)

# From outside: a callback, which also writes the temperature to the logs.
annealed = network()
history = train(annealed, [kg.TemperatureScheduler(cosine, layers=["code"])])
# From inside: a layer that counts its own training calls.
inside = network(cosine)
train(inside)
constant = network()
train(constant)

models = {"constant": constant, "annealed": annealed, "inside": inside}
losses = {name: m.evaluate(x, x, verbose=0) for name, m in models.items()}
for name, loss in losses.items():
    print(f"{name:9} loss with hard codes {loss:.4f}")
