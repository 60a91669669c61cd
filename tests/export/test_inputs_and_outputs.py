"""What else than logits of rank 3 goes into a file, and comes out."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.variants import slow, slow_rows

from .runtimes import ENDINGS, export, outputs, run

EACH = pytest.mark.parametrize("target", slow(*ENDINGS))


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def check(model, target, folder, feeds):
    """Every output of the file is that of Keras, which is returned."""
    # As a graph, in which a temperature is known too late for an error.
    given = [feeds[x.name] for x in model.inputs]
    expected = model.predict_on_batch(given if len(given) > 1 else given[0])
    expected = keras.tree.flatten(expected)
    found = outputs(export(model, target, folder), feeds)
    if target == "openvino":  # it makes outputs of unused parts too
        found = found[: len(expected)]
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
        assert mine.dtype == other.dtype
    return expected


MASKED = [
    kg.GumbelSoftmax(hard=False),
    kg.GumbelSoftmax(hard=True),
    kg.SampleArgmaxIndex(hard=True),
    kg.GumbelEmbedding(5, 2),
    kg.GumbelTopK(2, hard=False),
    kg.GumbelTopK(2, hard=True),
    kg.GumbelSigmoid(hard=False),
    kg.GumbelSigmoid(hard=True),
    kg.GumbelSort(hard=False),
    kg.GumbelSort(hard=True, output="ranks"),
    kg.GumbelSinkhorn(hard=False),
]


@EACH
@pytest.mark.parametrize(
    "layer", MASKED, ids=lambda x: f"{type(x).__name__}-{x.hard}"
)
def test_a_mask_and_a_temperature_are_inputs(layer, target, tmp_path):
    """Row 1 has nothing allowed, row 2 little; a temperature each."""
    layer = type(layer).from_config(layer.get_config())
    logits = keras.Input((5, 5), name="logits")
    mask = keras.Input((5, 5), dtype="bool", name="mask")
    temperature = keras.Input((1, 1), name="temperature")
    y = layer(logits, class_mask=mask, temperature=temperature)
    model = keras.Model([logits, mask, temperature], y)
    allowed = np.random.default_rng(1).random((4, 5, 5)) < 0.7
    allowed[:, 0], allowed[:, 1], allowed[:, 2] = True, False, False
    allowed[:, 2, 3] = True
    if isinstance(layer, kg.GumbelTopK):
        allowed[:, 2, :2] = True  # at least as many as it takes
    feeds = {
        "logits": numbers(4, 5, 5),
        "mask": allowed,
        "temperature": np.float32([2.0, 0.3, 1.0, -1.0]).reshape(4, 1, 1),
    }
    feeds["logits"][:, 1, 1] = np.nan  # where it is forbidden
    (expected,) = check(model, target, tmp_path, feeds)
    assert not np.isnan(expected[:3]).any()
    assert (expected[:3, 1] == 0).all()
    # A temperature that is not positive shows; few hard layers have none.
    certain = kg.GumbelTopK, kg.GumbelSigmoid, kg.GumbelSort
    if not (layer.hard and isinstance(layer, certain)):
        assert np.isnan(expected[3]).any()
    # Not the same without the mask.
    free = {**feeds, "mask": np.ones_like(allowed)}
    assert not np.array_equal(
        run(next(tmp_path.glob(f"*.{ENDINGS[target]}")), free), expected
    )


@EACH
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (kg.GumbelSoftmax(hard=True, axis=1), (2, 4, 3)),
        (kg.GumbelSoftmax(axis=0), (5,)),
        (kg.GumbelTopK(2, hard=True, axis=1), (2, 4, 3, 2)),
        (kg.GumbelSoftmax(hard=True), (2, 3, 4, 5)),
        (kg.GumbelSoftmax(), (3, 5)),
        (kg.SampleArgmaxIndex(axis=1), (2, 4, 3)),
        (kg.GumbelSigmoid(hard=True), (5,)),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_any_axis_and_rank(layer, shape, target, tmp_path):
    layer = type(layer).from_config(layer.get_config())
    x = keras.Input(batch_shape=(None, *shape[1:]), name="logits")
    model = keras.Model(x, layer(x))
    check(model, target, tmp_path, {"logits": numbers(*shape)})


@EACH
def test_several_outputs(target, tmp_path):
    x = keras.Input((5,), name="logits")
    soft, hard = kg.GumbelSoftmax(0.5)(x), kg.GumbelSoftmax(hard=True)(x)
    index = kg.SampleArgmaxIndex(hard=True)(x)
    vectors = kg.GumbelEmbedding(5, 2)(x)
    model = keras.Model(x, [soft, hard, index, vectors])
    expected = check(model, target, tmp_path, {"logits": numbers(6, 5)})
    assert [y.ndim for y in expected] == [2, 2, 1, 2]


@pytest.mark.parametrize("target", ["onnx", *slow("litert", "openvino")])
def test_of_ties_the_first_is_chosen_in_a_batch_of_any_size(target, tmp_path):
    x = keras.Input((4,), name="logits")
    model = keras.Model(x, kg.GumbelSoftmax(hard=True)(x))
    model(np.zeros((1, 4), "float32"))
    path = export(model, target, tmp_path)
    ties = np.float32([[0, 0, 0, 0], [-1, 2, 2, 1], [3, 0, -0.0, 3]])
    one_hot = np.eye(4, dtype="float32")[[0, 1, 0]]
    for size in (3, 1, 50):
        x = np.resize(ties, (size, 4))
        output = run(path, {"logits": x})
        np.testing.assert_array_equal(output, np.resize(one_hot, (size, 4)))


def rounded(policy, hard):
    inputs = "float32" if policy.startswith("mixed") else policy
    x = keras.Input((5,), dtype=inputs, name="logits")
    dense = keras.layers.Dense(
        5,
        dtype=policy,
        kernel_initializer=keras.initializers.Orthogonal(seed=1),
    )
    choice = kg.GumbelSoftmax(0.5, hard=hard, dtype=policy, name="choice")
    model = keras.Model(x, choice(dense(x)))
    model(keras.ops.zeros((1, 5), x.dtype))
    return model


@pytest.mark.parametrize(
    ("policy", "target"),
    slow_rows(
        ("mixed_float16", "onnx"),
        ("mixed_float16", "openvino"),
        ("float16", "onnx"),
        ("float16", "openvino"),
        ("float64", "onnx"),
        ("float64", "openvino"),
    ),
)
def test_precision(policy, target, tmp_path):
    """Equal to the last digit of the type: a product may be rounded so."""
    model = rounded(policy, hard=False)
    x = numbers(64, 5).astype(model.inputs[0].dtype)
    noise = np.random.default_rng(1).gumbel(size=x.shape).astype("float32")
    noise[1, 2] = np.nan
    given = kg.export.with_noise_input(model)
    feeds = {"logits": x, "choice_noise": noise}
    expected = np.asarray(given([x, noise]))
    output = run(export(given, target, tmp_path), feeds)
    assert output.dtype == expected.dtype == policy.removeprefix("mixed_")
    digits = 2 * np.finfo(expected.dtype).eps
    if target == "openvino":  # told to compute in float32
        digits = max(digits, 1e-6)
    np.testing.assert_allclose(output, expected, rtol=2 * digits, atol=digits)
    assert np.isnan(output[1]).all()
    assert not np.isnan(output[2:]).any()


@pytest.mark.parametrize(
    ("policy", "target"),
    [
        ("mixed_float16", "litert"),
        *slow_rows(
            ("float16", "litert"),
            ("float64", "litert"),
            *(("mixed_bfloat16", target) for target in ENDINGS),
        ),
    ],
)
def test_a_type_that_the_format_has_not_is_refused(policy, target, tmp_path):
    model = rounded(policy, hard=True)
    dtype = policy.removeprefix("mixed_")
    with pytest.raises(ValueError, match="set_weights") as error:
        export(model, target, tmp_path)
    assert f"{target!r} has no arithmetic in {dtype}" in str(error.value)
    assert "Received: a layer, 'choice'" in str(error.value)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_litert_in_float16_by_quantisation(tmp_path):
    """Keras hands the converter's settings on; the weights get coarser."""
    import tensorflow as tf

    model = rounded("float32", hard=False)
    x = numbers(64, 5)
    path = export(
        model,
        "litert",
        tmp_path,
        optimizations=[tf.lite.Optimize.DEFAULT],
        target_spec={"supported_types": [tf.float16]},
    )
    output, expected = run(path, {"logits": x}), np.asarray(model(x))
    np.testing.assert_allclose(output, expected, atol=5e-3)
    assert not np.array_equal(output, expected)
    assert output.dtype == "float32"
