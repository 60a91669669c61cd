"""GumbelQuantizer's training call, beside the idiom of wav2vec and DALL-E.

Projection, sample, vectors; differentiated to the inputs and every weight.
The layer counts its codes meanwhile, which the pasted code does not.
"""

import tensorflow as tf

import keras_gumbel as kg

TEMPERATURE = 0.9


def _ours(layer):
    def run(x, kernel, bias, embeddings):
        # In place of the variables, so that they are differentiated too.
        for name, value in (
            ("kernel", kernel),
            ("bias", bias),
            ("embeddings", embeddings),
        ):
            setattr(layer, name, value)
        return layer(x, training=True)

    return run


def _pasted(hard):
    def run(x, kernel, bias, embeddings):
        groups, classes, _ = embeddings.shape
        logits = tf.reshape(x @ kernel + bias, (-1, groups, classes))
        u = tf.random.uniform(tf.shape(logits), 1e-10, 1.0)
        gumbel = -tf.math.log(-tf.math.log(u))
        y = tf.nn.softmax((logits + gumbel) / TEMPERATURE)
        if hard:
            one_hot = tf.one_hot(tf.argmax(y, -1), classes)
            y = tf.stop_gradient(one_hot - y) + y
        vectors = tf.einsum("ngv,gvd->ngd", y, embeddings)
        return tf.reshape(vectors, (tf.shape(x)[0], -1))

    return run


def cases():
    """Label -> (ours, pasted, inputs)."""
    found = {}
    for label, rows, groups, classes, dim, hard in (
        ("wav2vec 512 x 256, 2 x 320 codes of 128", 512, 2, 320, 256, True),
        ("DALL-E 1024 x 256, 8192 codes of 64", 1024, 1, 8192, 64, True),
        ("DALL-E, soft", 1024, 1, 8192, 64, False),
    ):
        layer = kg.GumbelQuantizer(
            classes,
            dim,
            groups,
            TEMPERATURE,
            hard,
            # What is pasted does none of this.
            diversity_weight=None,
            init_from_data=False,
            restart_after=None,
            name="quantizer",
        )
        layer.build((rows, 256))
        weights = [layer.kernel, layer.bias, layer.embeddings]
        inputs = [tf.random.normal((rows, 256))]
        inputs += [tf.convert_to_tensor(w) for w in weights]
        found[label] = _ours(layer), _pasted(hard), inputs
    return found
