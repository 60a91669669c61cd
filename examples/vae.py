"""A variational autoencoder whose code is 20 choices among 10 classes."""

import keras
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_gumbel as kg

LATENTS, CLASSES = 20, 10


def nats(x, logits):
    """Minus the log-likelihood of the pixels."""
    return ops.sum(
        ops.binary_crossentropy(x, logits, from_logits=True), axis=-1
    )


class VAE(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [
                layers.Dense(256, "relu"),
                layers.Dense(LATENTS * CLASSES),
                layers.Reshape((LATENTS, CLASSES)),
            ]
        )
        # Soft samples in training; at inference the likeliest classes.
        self.choice = kg.GumbelSoftmax(inference="argmax")
        self.decoder = keras.Sequential(
            [layers.Flatten(), layers.Dense(256, "relu"), layers.Dense(64)]
        )

    def call(self, x, training=None):
        logits = self.encoder(x)
        kl = kg.losses.categorical_kl(logits)  # to the uniform prior
        self.add_loss(ops.mean(ops.sum(kl, axis=-1)))
        return self.decoder(self.choice(logits, training=training))


x = (load_digits().data > 7).astype("float32")  # black and white
train, test = x[:1500], x[1500:]

vae = VAE()
vae.compile(keras.optimizers.Adam(2e-3), nats)
schedule = kg.schedules.ExponentialAnnealing(1.0, decay_rate=5e-4, minimum=0.4)
anneal = kg.TemperatureScheduler(schedule)
vae.fit(train, train, epochs=60, callbacks=[anneal], verbose=0)

# The bound on the log-likelihood is of hard codes, which are sampled.
logits = vae.encoder(test)
code = kg.ops.gumbel_softmax(logits, hard=True)
kl = ops.sum(kg.losses.categorical_kl(logits), axis=-1)
elbo = -ops.mean(nats(test, vae.decoder(code)) + kl)
print(f"test ELBO {float(elbo):.1f} nats")

# New digits: codes drawn from the prior, decoded.
prior = ops.zeros((8, LATENTS, CLASSES))
new = ops.sigmoid(vae.decoder(kg.ops.gumbel_softmax(prior, hard=True)))
