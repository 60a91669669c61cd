"""Photographs as integers: the discrete VAE that is DALL-E's first stage.

After Ramesh et al., 2021, https://arxiv.org/abs/2102.12092, 2.1, A.2 and A.3. A
crop of 128 x 128 pixels becomes 32 x 32 codes: in training relaxed ones, which
cool to 1/16 while the weight of their KL grows; then integers, saved and read.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import initializers, layers, ops
from keras.optimizers import schedules
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images

import keras_gumbel as kg

# pixels; columns from EDGE on are for tests
CELL = 4
CROP = 128
EDGE = 480


def logit_laplace(x, y):  # nats a number, less a constant
    mu, log_scale = ops.split(y, 2, axis=-1)
    logit = ops.log(0.1 + 0.8 * x) - ops.log(0.9 - 0.8 * x)
    return log_scale + ops.abs(logit - mu) * ops.exp(-log_scale)


def colours(y):
    return ops.clip((ops.sigmoid(y[..., :3]) - 0.1) / 0.8, 0, 1)


def network(quantizer, width: int) -> keras.Sequential:
    near = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    image = keras.Input((None, None, 3))
    code = keras.Input((None, None, 32))
    x = layers.Conv2D(width, 2 * CELL, CELL, "same", activation="relu")(image)
    x += layers.Conv2D(width, **near)(x)
    x = layers.LayerNormalization()(layers.Conv2D(32, 1)(x))
    y = layers.Conv2D(width, 1)(code)
    y += layers.Conv2D(width, **near)(y)
    y = layers.Conv2DTranspose(6, 2 * CELL, CELL, "same")(y)
    parts = keras.Model(image, x), quantizer, keras.Model(code, y)
    return keras.Sequential(parts)


def train(images, seed, steps, width, codes, last, beta, hard):
    keras.utils.set_random_seed(seed)
    places = 2, images.shape[1] - CROP + 1, EDGE - CROP + 1
    places = np.random.randint(places, size=(steps, 3))
    cut = [images[i, y : y + CROP, x : x + CROP] for i, y, x in places]
    crops = np.stack(cut)  # one a step
    ramp = schedules.PolynomialDecay(0.0, steps // 4, beta / (3 * CELL**2))
    options = {
        "kernel_initializer": initializers.VarianceScaling(9.0, "fan_in"),
        "embeddings_initializer": initializers.RandomNormal(stddev=1.0),
        "kl_weight": ramp,
        "inference": "argmax",
        # The paper's, whose codes nothing else keeps in use.
        "diversity_weight": None,
        "init_from_data": False,
        "restart_after": None,
    }
    code = kg.GumbelQuantizer(codes, 32, hard=hard, name="code", **options)
    model = network(code, width)
    rate = schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), logit_laplace)
    cosine = schedules.CosineDecay(1.0, steps // 2, alpha=last)
    fit = {"callbacks": [kg.TemperatureScheduler(cosine)], "verbose": 0}
    fit |= {"batch_size": 1, "epochs": 20, "steps_per_epoch": steps // 20}
    history = model.fit(crops, crops, **fit).history
    return model, history | {"kl_weight": ramp(steps / 20 * np.arange(20))}


def written_and_read(model, images, path: Path) -> None:
    encoder, code, decoder = model.layers
    codes = code.encode(encoder(images)).numpy()
    np.savez_compressed(path, codes=codes.astype("uint16"))
    read = np.load(path)["codes"].astype("int32")
    differ = np.sum(decoder(code.decode(read)).numpy() != model(images).numpy())
    bits = 8 * path.stat().st_size / images[..., 0].size
    print(f"{np.unique(codes).size} codes, {bits:.3f} bits/pixel, {differ=:d}")


def main(output: Path, seed: int, smoke: bool, **options) -> None:
    output.mkdir(parents=True, exist_ok=True)
    images = np.stack(load_sample_images().images)[:, :424] / np.float32(255)
    if smoke:
        options |= {"steps": 100, "width": 16, "beta": 6.6}
    model, history = train(images, seed, **options)
    written_and_read(model, images, output / "discrete_vae.npz")
    test = images[:, :, EDGE:]
    code = model.layers[1]
    tiles = {"photograph": test}
    tiles["relaxed codes"] = colours(model(test, training=True))
    code.temperature = 1e-6  # as good as hard
    tiles["hard codes, drawn"] = colours(model(test, training=True))
    tiles["likeliest codes"] = colours(model(test))
    for size in (4, 4), (424, 160):
        mean = ops.repeat(ops.average_pool(test, size), size[0], axis=1)
        tiles[f"means of {size}"] = ops.repeat(mean, size[1], axis=2)
    for name, x in [*tiles.items()][1:]:
        print(f"{name}: {ops.psnr(test, x, 1):.2f} dB")
    print(f"perplexity while training: {history['code_perplexity'][-1]:.0f}")
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 1))
    for axis, name in zip(top.subplots(1, 5), tiles, strict=False):
        axis.imshow(np.concatenate(tiles[name][:, 148:276, :128]))
        axis.set(title=name, xticks=[], yticks=[])
    keys = "code_perplexity", "code_usage", "temperature", "kl_weight"
    for axis, key in zip(bottom.subplots(1, 4), keys, strict=True):
        axis.plot(range(1, 21), history[key], color="black")
        axis.set(title=key, xlabel="epoch", ylim=(0, None))
    figure.savefig(output / "discrete_vae.png", dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    whole = {"codes": 512, "steps": 6000, "width": 64, "seed": 0}
    for name, value in {**whole, "last": 1 / 16, "beta": 1.0}.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
