"""A codebook of digits that stays alive, and integers to and from it.

    python examples/codebook.py

Needs scikit-learn.
"""

import argparse

import keras
from sklearn.datasets import load_digits

import keras_gumbel as kg


def autoencoder(num_codes, num_stages):
    """Images of 64 numbers to codes and back."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(32),
            kg.VectorQuantizer(num_codes, num_stages=num_stages, name="codes"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(64),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="one epoch")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    images = load_digits().data.astype("float32") / 16
    model = autoencoder(options.codes, options.stages)
    model.compile("adam", "mean_squared_error")
    epochs = 1 if options.smoke else options.epochs
    model.fit(images, images, 100, epochs=epochs, verbose=2)

    # Integers, to be stored or learned by another model.
    features = keras.Sequential(model.layers[:2])(images)
    codes = model.get_layer("codes").encode(features)
    print("codes of the first image:", keras.ops.convert_to_numpy(codes[0]))
    decoder = keras.Sequential(model.layers[3:])
    restored = decoder(model.get_layer("codes").decode(codes))
    error = keras.ops.mean(keras.ops.square(restored - images))
    print(f"mean square error by the codes alone: {float(error):.4f}")


if __name__ == "__main__":
    main()
