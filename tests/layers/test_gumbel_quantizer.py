"""`GumbelQuantizer`: projection, sample, codebook; codes, loss, metrics."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference, statistics
from tests.conformance.registry import as_array
from tests.frameworks import tf
from tests.harness import (
    ALWAYS_KNOWN,
    dtype_of,
    grad_to,
    in_mode,
    tensor,
    to_numpy,
    value_and_grad,
)
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

FEATURES, CODES, GROUPS, DIM = 6, 4, 2, 3

# Nothing but what a test asks for.
STAY = {
    "diversity_weight": None,
    "init_from_data": False,
    "restart_after": None,
}


def quantizer(**options):
    """Two groups of four codes, vectors of three numbers each."""
    layer = kg.GumbelQuantizer(
        CODES, GROUPS * DIM, GROUPS, **{"seed": 3, **STAY, **options}
    )
    layer.build((None, FEATURES))
    rng = np.random.default_rng(7)
    for variable in layer.kernel, layer.embeddings:
        variable.assign(rng.normal(size=variable.shape))
    if layer.use_bias:
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    return layer


def features(*lead, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, FEATURES)).astype("float32")


def logits_of(layer, x):
    """The projection in float64, `(..., groups, codes)`."""
    logits = x.astype("float64") @ as_array(layer.kernel)
    logits = logits + (as_array(layer.bias) if layer.use_bias else 0.0)
    return logits.reshape(*x.shape[:-1], layer.num_groups, layer.num_codes)


def vectors_of(layer, codes):
    """By indexing the codebook of each group."""
    tables = as_array(layer.embeddings)
    rows = tables[np.arange(layer.num_groups), codes]
    return rows.reshape(*np.shape(codes)[:-1], layer.code_dim)


def codes_in(layer, y):
    """Which rows of each group's own codebook the vectors are; -1 if none."""
    y = as_array(y)
    y = np.reshape(y, (*y.shape[:-1], layer.num_groups, 1, -1))
    same = (y == as_array(layer.embeddings)).all(-1)
    return np.where(same.any(-1), same.argmax(-1), -1)


def perplexities(layer, codes):
    """Of the codes of each group."""
    p = [
        np.bincount(group[group >= 0], minlength=layer.num_codes)
        for group in np.reshape(codes, (-1, layer.num_groups)).T
    ]
    p = np.array(p) / np.sum(p, axis=1, keepdims=True)
    return np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1))


def used(layer, codes):
    flat = np.reshape(np.asarray(codes), (-1, layer.num_groups))
    pairs = {(g, c) for row in flat for g, c in enumerate(row) if c >= 0}
    return len(pairs) / (layer.num_groups * layer.num_codes)


@pytest.fixture(scope="module")
def drawn(seed):
    """A layer, a million of its vectors, and their law."""
    layer = quantizer(seed=seed)
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    x = np.zeros((10**6, FEATURES), "float32")
    y = to_numpy(layer(x, training=True))
    return layer, y, reference.softmax(logits_of(layer, x[0]), 1.0)


class TestLaw:
    """Codes follow softmax(logits), each group by itself."""

    @staticmethod
    def check(codes, probs):
        """`codes` (n, 2) in `probs` (2, codes); a false-fail rate of 1e-6."""
        assert np.all(codes >= 0), "no row of the group's own codebook"
        for of_group, p in zip(codes.T, probs, strict=True):
            counts = np.bincount(of_group, minlength=len(p))
            assert statistics.chi_squared_p(counts, p) > FALSE_FAIL_RATE
        pairs = np.bincount(
            codes[:, 0] * CODES + codes[:, 1], minlength=CODES**2
        )
        p = statistics.chi_squared_p(pairs, np.outer(*probs))
        assert p > FALSE_FAIL_RATE, "one group tells of the other"

    def test_of_the_layer(self, drawn):
        layer, y, probs = drawn
        self.check(codes_in(layer, y), probs)

    def test_the_check_sees_the_table_of_the_other_group(self, drawn):
        layer, y, probs = drawn
        swapped = y.reshape(-1, GROUPS, DIM)[:, ::-1].reshape(y.shape)
        with pytest.raises(AssertionError, match="own codebook"):
            self.check(codes_in(layer, swapped), probs)

    def test_the_check_sees_one_noise_for_all_groups(self, drawn, seed):
        _, _, probs = drawn
        noise = np.random.default_rng(seed).gumbel(size=(10**6, 1, CODES))
        with pytest.raises(AssertionError, match="one group tells"):
            self.check(np.argmax(np.log(probs) + noise, -1), probs)

    def test_the_check_sees_the_law_of_the_other_group(self, drawn):
        layer, y, probs = drawn
        with pytest.raises(AssertionError):
            self.check(codes_in(layer, y), probs[::-1])


class TestForward:
    @pytest.mark.tensorflow
    @pytest.mark.parametrize(
        ("hard", "estimator", "mode"),
        [
            (True, "st_gumbel", "eager"),
            *slow_rows(
                (True, "reinmax", "compiled"),
                (False, "st_gumbel", "eager"),
                (False, "st_gumbel", "compiled"),
            ),
        ],
    )
    def test_is_its_parts_in_value_and_gradients(self, hard, estimator, mode):
        """With the same noise: project, sample, multiply by the tables."""
        options = {"hard": hard, "estimator": estimator, "noise_scale": 0.5}
        layer = quantizer(temperature=0.7, **options)
        x = tensor(features(4, 3))
        weight = np.random.default_rng(1).normal(size=(4, 3, 6))
        given = [layer.kernel, layer.bias, layer.embeddings]

        def by_parts(x):
            kernel, bias, tables = (variable.value for variable in given)
            logits = keras.ops.einsum("btf,fk->btk", x, kernel) + bias
            logits = keras.ops.reshape(logits, (4, 3, GROUPS, CODES))
            y = kg.ops.gumbel_softmax(logits, 0.7, seed=3, **options)
            return keras.ops.reshape(
                keras.ops.einsum("btgv,gvd->btgd", y, tables), (4, 3, -1)
            )

        def gradients(f):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = f(x)
                loss = keras.ops.sum(y * weight.astype("float32"))
            return y, *tape.gradient(loss, [x, *(v.value for v in given)])

        got = in_mode(
            mode, lambda: gradients(lambda x: layer(x, training=True))
        )()
        for a, b in zip(got, gradients(by_parts), strict=True):
            assert np.abs(b).max() > 0.01
            np.testing.assert_allclose(a, b, atol=2e-5)

    @pytest.mark.parametrize("lead", [(4, 3), *slow((4,), (2, 3, 2))], ids=str)
    @pytest.mark.parametrize("training", [True, False])
    def test_vectors_are_rows_at_any_rank(self, lead, training):
        layer = quantizer()
        x = features(*lead)
        y = to_numpy(layer(x, training=training))
        codes = codes_in(layer, y)
        assert y.shape == (*lead, 6)
        assert np.all(codes >= 0)
        if not training:
            np.testing.assert_array_equal(codes, logits_of(layer, x).argmax(-1))

    def test_soft_at_inference_is_the_mean_vector(self):
        layer = quantizer(hard=False, temperature=0.5)
        x = features(4, 3)
        probs = reference.softmax(logits_of(layer, x), 0.5)
        mean = np.einsum("btgv,gvd->btgd", probs, as_array(layer.embeddings))
        np.testing.assert_allclose(layer(x), mean.reshape(4, 3, 6), atol=1e-5)

    def test_gradient_at_inference_is_that_of_the_softmax(self):
        """To the inputs; to the codebooks that of the rows."""
        layer, soft = quantizer(), quantizer(hard=False)
        x, upstream = features(4, 3), features(4, 3, seed=2)
        got, wanted = (
            value_and_grad(one, x, upstream=upstream)[1][0]
            for one in (layer, soft)
        )
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        (found,) = grad_to(
            [layer.embeddings], lambda: layer(x) * tensor(upstream)
        )
        expected = np.zeros(layer.embeddings.shape)
        codes = as_array(layer.encode(x)).astype(int)
        dy = upstream.reshape(-1, GROUPS, DIM)
        for row, of_row in zip(codes.reshape(-1, GROUPS), dy, strict=True):
            for group in range(GROUPS):
                expected[group, row[group]] += of_row[group]
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_temperature_of_each_position(self):
        layer = quantizer(hard=False)
        x = features(2, 1).repeat(2, 1)
        temperature = np.reshape([1e-4, 1e4], (1, 2, 1, 1)).astype("float32")
        y = to_numpy(layer(x, temperature=temperature))
        layer = quantizer()
        np.testing.assert_allclose(y[:, 0], layer(x)[:, 0], atol=1e-5)
        mean = as_array(layer.embeddings).mean(1).reshape(-1)
        np.testing.assert_allclose(y[:, 1], [mean, mean], atol=1e-3)

    def test_half_precision_is_of_the_vectors_alone(self):
        exact, layer = quantizer(), quantizer(dtype="mixed_float16")
        x = features(4, 3)
        np.testing.assert_array_equal(layer.logits(x), exact.logits(x))
        np.testing.assert_array_equal(layer.encode(x), exact.encode(x))
        for training in (True, False):
            np.testing.assert_array_equal(
                layer(x, training=training),
                keras.ops.cast(
                    exact(x, training=training), layer.compute_dtype
                ),
            )

    # Keras has no product of float64 on some other backends.
    @pytest.mark.tensorflow
    def test_float64(self):
        layer = quantizer(dtype="float64")
        x = features(5).astype("float64")
        assert layer.logits(x).dtype == "float64"
        np.testing.assert_allclose(
            layer.logits(x), logits_of(layer, x), rtol=1e-13
        )

    @pytest.mark.tensorflow
    def test_unknown_dimensions(self):
        layer = quantizer()
        spec = tf.TensorSpec((None, None, FEATURES))
        call = tf.function(
            lambda x: layer(x, training=True), input_signature=[spec]
        )
        other = quantizer()
        for lead in ((4, 3), (0, 4)):
            x = features(*lead)
            np.testing.assert_array_equal(call(x), other(x, training=True))

    def test_the_codebooks_start_apart_and_by_their_initializer(self):
        layer = kg.GumbelQuantizer(5, 6, 3, embeddings_initializer="uniform")
        layer.build((None, 2))
        tables = as_array(layer.embeddings)
        assert tables.shape == (3, 5, 2)
        assert len(np.unique(tables)) == tables.size
        assert np.abs(tables).max() <= 0.05


class TestCodes:
    @pytest.mark.slow_ids("1-False")
    @pytest.mark.parametrize(
        ("groups", "masked"),
        [(1, False), (2, True), *slow_rows((1, True), (2, False))],
    )
    def test_decoding_what_was_encoded_is_the_layer(self, groups, masked):
        layer = kg.GumbelQuantizer(9, 6, groups)
        x = features(4, 3)
        mask = np.random.default_rng(4).random((groups, 9)) < 0.5
        mask = mask if masked else None
        codes = layer.encode(x, mask)
        assert dtype_of(codes) == "int32"
        assert codes.shape == (4, 3, groups)
        y = to_numpy(layer.decode(codes))
        np.testing.assert_array_equal(y, layer(x, mask))
        np.testing.assert_array_equal(y, vectors_of(layer, codes))
        logits = logits_of(layer, x)
        logits = logits if mask is None else np.where(mask, logits, -np.inf)
        np.testing.assert_array_equal(codes, logits.argmax(-1))

    def test_no_noise_and_no_trace_of_a_draw(self):
        layer = quantizer()
        layer.encode(features(3))
        assert as_array(layer.seed_generator.state)[1] == 0

    def test_ties_go_to_the_first_code(self):
        layer = quantizer(use_bias=False)
        np.testing.assert_array_equal(
            layer.encode(np.zeros((2, FEATURES), "float32")), np.zeros((2, 2))
        )

    def test_codes_that_are_none(self):
        layer = quantizer()
        x = features(3)
        x[1] = np.nan
        mask = np.ones((3, GROUPS, CODES), bool)
        mask[2, 1] = False
        codes = as_array(layer.encode(x, mask))
        assert (codes[0] >= 0).all()
        np.testing.assert_array_equal(codes[1], [-1, -1])
        assert codes[2, 0] >= 0
        assert codes[2, 1] == -1
        if ALWAYS_KNOWN:
            return
        y = to_numpy(in_mode("graph", layer.decode)(tensor(codes, "int32")))
        np.testing.assert_array_equal(y[0], layer(x)[0])
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[2, :DIM]).all()
        assert np.isnan(y[2, DIM:]).all()

    @pytest.mark.parametrize("code", [-1, CODES, 2**31 - 1])
    def test_codes_out_of_range(self, code):
        layer = quantizer()
        with pytest.raises(
            ValueError,
            match=rf"`codes` must be in \[0, num_codes\). "
            rf"Received: a code of {code}, num_codes=4",
        ):
            layer.decode(np.array([[0, code]]))
        if ALWAYS_KNOWN:
            return
        codes = tensor([[0, code]], "int32")
        y = to_numpy(in_mode("graph", layer.decode)(codes))
        assert np.isfinite(y[0, :DIM]).all()
        assert np.isnan(y[0, DIM:]).all()

    @pytest.mark.slow
    @pytest.mark.tensorflow
    def test_both_export_beside_the_model(self, tmp_path):
        """To where this package is not needed; serving counts nothing."""
        layer = quantizer()
        model = keras.Sequential([keras.Input((None, FEATURES)), layer])
        archive = keras.export.ExportArchive()
        archive.track(model)
        spec = tf.TensorSpec((None, None, FEATURES))
        archive.add_endpoint("serve", model.call, [spec])
        archive.add_endpoint("encode", layer.encode, [spec])
        spec = tf.TensorSpec((None, None, GROUPS), "int32")
        archive.add_endpoint("decode", layer.decode, [spec])
        archive.write_out(tmp_path / "served", verbose=False)
        served = tf.saved_model.load(str(tmp_path / "served"))
        x = tf.constant(features(2, 3))
        codes = served.encode(x)
        np.testing.assert_array_equal(codes, layer.encode(x))
        np.testing.assert_array_equal(served.decode(codes), layer(x))
        np.testing.assert_array_equal(served.serve(x), layer(x))
        assert layer.usage.result() == 0


class TestClassMask:
    @pytest.mark.parametrize(
        ("hard", "training"),
        [
            (True, True),
            (False, False),
            *slow_rows((True, False), (False, True)),
        ],
    )
    def test_of_one_group_and_of_positions(self, hard, training):
        layer = quantizer(hard=hard)
        x = features(3, 2)
        mask = np.ones((3, 1, GROUPS, CODES), bool)
        mask[:, :, 0, [0, 2]] = False
        mask[1, :, 1] = False

        def call():
            return layer(x, class_mask=mask, training=training)

        def loss():
            return keras.ops.sum(call()[1] ** 2)

        kernel, tables = grad_to([layer.kernel, layer.embeddings], loss)
        y = to_numpy(call())
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(y[1, :, DIM:], 0)
        if hard:
            codes = codes_in(layer, y)
            assert np.isin(codes[..., 0], [1, 3]).all()
            assert (codes[[0, 2], :, 1] >= 0).all()
        kernel = kernel.reshape(FEATURES, GROUPS, CODES)
        assert np.abs(kernel[:, 0, [1, 3]]).max() > 1e-4
        for group, forbidden in ((0, [0, 2]), (1, range(CODES))):
            np.testing.assert_array_equal(kernel[:, group, forbidden], 0)
            np.testing.assert_array_equal(tables[group][forbidden], 0)

    def test_what_has_no_code_is_not_counted(self):
        layer = quantizer()
        mask = np.ones((4, GROUPS, CODES), bool)
        mask[1:, 1] = False
        y = layer(features(4), class_mask=mask, training=True)
        codes = codes_in(layer, y)
        codes[1:, 1] = -1
        assert layer.usage.result() == used(layer, codes)
        np.testing.assert_allclose(
            layer.perplexity.result(), perplexities(layer, codes).mean()
        )


def kl_of(layer, x):
    """To the uniform, summed over groups, in float64."""
    p = reference.softmax(logits_of(layer, x), 1.0)
    return np.sum(p * np.log(p * layer.num_codes), axis=(-1, -2))


class TestLoss:
    @pytest.mark.parametrize("training", [True, False, None])
    def test_value(self, training):
        layer = quantizer(kl_weight=0.3)
        x = features(4, 3)
        layer(x, training=training)
        (loss,) = layer.losses
        np.testing.assert_allclose(loss, 0.3 * kl_of(layer, x).mean(), 1e-5)

    def test_gradient_reaches_the_projection(self):
        layer = quantizer(kl_weight=0.3)
        x = features(4, 3)

        def loss():
            layer(x, training=True)
            return layer.losses[-1]

        (gradient,) = grad_to([layer.kernel], loss)
        kernel = as_array(layer.kernel)
        step = np.zeros_like(kernel)
        for place in ((0, 0), (3, 2), (5, 7)):
            step[place] = 1e-6
            either = []
            for sign in (1, -1):
                moved = quantizer(dtype="float64")
                moved.kernel.assign(kernel + sign * step)
                either.append(0.3 * kl_of(moved, x).mean())
            step[place] = 0
            slope = (either[0] - either[1]) / 2e-6
            np.testing.assert_allclose(gradient[place], slope, 1e-4, 1e-7)

    def test_none_adds_none(self):
        layer = quantizer()
        layer(features(4), training=True)
        assert layer.losses == []
        assert layer.kl_weight is None
        with pytest.raises(
            ValueError, match=r"`kl_weight` of this layer is None.*Received"
        ):
            layer.kl_weight = 0.1

    @pytest.mark.skipif(ALWAYS_KNOWN, reason="nothing is traced")
    def test_the_live_weight_retraces_nothing(self):
        layer = quantizer(kl_weight=0.0)
        x = features(4)
        traces = []

        def loss():
            traces.append(1)
            layer(x, training=True)
            return layer.losses[-1]

        loss = in_mode("graph", loss)
        traced = []
        for weight in (0.0, 0.5, 2.0):
            layer.kl_weight = weight
            expected = weight * kl_of(layer, x).mean()
            np.testing.assert_allclose(loss(), expected, 1e-5)
            traced.append(len(traces))
        assert len(set(traced)) == 1
        assert layer.kl_weight.dtype == "float32"

    def test_a_schedule_of_training_calls_that_is_saved(self, tmp_path):
        schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 4, 2.0)
        model = keras.Sequential(
            [keras.Input((FEATURES,)), quantizer(kl_weight=schedule)]
        )
        x = features(4)
        for step in range(3):
            model(x, training=True)
            assert float(model.layers[0].kl_weight) == 0.5 * step
        model(x)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").layers[0]
        assert float(again.kl_weight) == 1.0
        again(x, training=True)
        assert float(again.kl_weight) == 1.5

    def test_masked_positions_are_left_out(self):
        """Whatever they hold, and whether or not classes are masked too."""
        layer = quantizer(kl_weight=1.0)
        x = features(2, 3)
        mask = np.array([[True, True, False], [True, False, False]])
        bad = np.where(mask[..., None], x, np.float32("nan"))
        expected = kl_of(layer, x)[mask].mean()
        for options in ({}, {"class_mask": np.ones((1, CODES), bool)}):
            inputs = tensor(bad)
            inputs._keras_mask = tensor(mask)
            layer(inputs, training=True, **options)
            np.testing.assert_allclose(layer.losses[-1], expected, 1e-5)
        layer(bad, mask=mask)
        np.testing.assert_allclose(layer.losses[-1], expected, 1e-5)
        # One for the first axis is shared by the others.
        layer(x, mask=np.array([False, True]))
        expected = kl_of(layer, x)[1].mean()
        np.testing.assert_allclose(layer.losses[-1], expected, 1e-5)
        layer(x, mask=np.zeros((2, 3), bool))
        assert layer.losses[-1] == 0

    def test_is_part_of_the_loss_of_fit(self):
        layer = quantizer(kl_weight=0.3)
        model = keras.Sequential([keras.Input((FEATURES,)), layer])
        model.compile("sgd", "mse", jit_compile=False)
        x = features(8)
        y = as_array(layer(x))
        loss = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
        np.testing.assert_allclose(loss, 0.3 * kl_of(layer, x).mean(), 1e-5)


class TestMetrics:
    @staticmethod
    def model(layer, jit_compile=False):
        model = keras.Sequential([keras.Input((None, FEATURES)), layer])
        model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
        return model

    @pytest.mark.parametrize(
        ("hard", "jit"),
        [(True, True), *slow_rows((True, False), (False, False))],
    )
    def test_in_fit_they_are_of_the_codes_of_each_epoch(self, hard, jit):
        layer = quantizer(hard=hard, name="q", temperature=0.1)
        # The largest entry of a relaxed sample of the same noise.
        again = quantizer()
        x = features(12, 3)
        y = np.zeros((12, 3, 6), "float32")
        history = self.model(layer, jit_compile=jit).fit(
            x, y, 4, 2, shuffle=False, verbose=0
        )
        for epoch in range(2):
            codes = [
                codes_in(again, again(x[i : i + 4], training=True))
                for i in (0, 4, 8)
            ]
            np.testing.assert_allclose(
                history.history["q_perplexity"][epoch],
                perplexities(again, codes).mean(),
                1e-5,
            )
            usage = used(again, codes)
            assert history.history["q_usage"][epoch] == pytest.approx(usage)
        assert again.perplexity.result() > 1

    def test_in_evaluate_they_are_of_the_likeliest_codes(self):
        layer = quantizer(name="q")
        model = self.model(layer)
        x = features(12, 3)
        y = np.zeros((12, 3, 6), "float32")
        logs = model.evaluate(x, y, 4, verbose=0, return_dict=True)
        codes = layer.encode(x)
        assert logs["q_usage"] == pytest.approx(used(layer, codes))
        np.testing.assert_allclose(
            logs["q_perplexity"], perplexities(layer, codes).mean(), 1e-5
        )
        # What `predict` adds the next `evaluate` begins without.
        model.predict(x[:2], verbose=0)
        again = model.evaluate(x, y, 4, verbose=0, return_dict=True)
        assert again == pytest.approx(logs)

    def test_which_calls_are_counted(self):
        layer = quantizer()
        x = features(5)
        layer(x)
        layer.encode(x)
        assert layer.usage.result() == 0
        layer(x, training=False)
        assert layer.usage.result() == used(layer, layer.encode(x))

    def test_masked_positions_are_not_counted(self):
        layer = quantizer()
        tokens = np.array([[1, 2, 0], [3, 0, 0]])
        inputs = keras.Input((None,), dtype="int32")
        embedding = keras.layers.Embedding(4, FEATURES, mask_zero=True)
        model = keras.Model(inputs, layer(embedding(inputs)))
        y = model(tokens, training=True)
        codes = codes_in(layer, y)[tokens > 0]
        assert layer.usage.result() == used(layer, codes)
        np.testing.assert_allclose(
            layer.perplexity.result(), perplexities(layer, codes).mean(), 1e-6
        )

    def test_two_layers_have_names_of_their_own(self):
        inputs = keras.Input((FEATURES,))
        layers = [kg.GumbelQuantizer(3, 2), kg.GumbelQuantizer(4, 2)]
        model = keras.Model(inputs, [layer(inputs) for layer in layers])
        names = {f"{a.name}_{b}" for a in layers for b in BOTH}
        assert len(names) == 4
        assert names == {metric.name for metric in model.metrics}

    def test_a_group_that_was_never_counted_has_one_code_in_use(self):
        layer = quantizer()
        mask = np.array([[True] * CODES, [False] * CODES])
        codes = codes_in(layer, layer(features(9), mask, training=True))
        first, _ = perplexities(layer, np.maximum(codes, 0))
        np.testing.assert_allclose(layer.perplexity.result(), (first + 1) / 2)


BOTH = ("perplexity", "usage")


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        (
            {"code_dim": 7},
            ValueError,
            r"`code_dim` must be divisible by `num_groups`.*"
            r"Received: code_dim=7, num_groups=2",
        ),
        ({"num_codes": 0}, ValueError, "`num_codes` must be at least 1"),
        ({"code_dim": 0}, ValueError, "`code_dim` must be at least 1"),
        ({"num_groups": 0}, ValueError, "`num_groups` must be at least 1"),
        ({"num_groups": 2.0}, TypeError, "`num_groups` must be an integer"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range(options, exception, message):
    sizes = {"num_codes": 4, "code_dim": 6, "num_groups": 2}
    with pytest.raises(exception, match=message + ".*"):
        kg.GumbelQuantizer(**{**sizes, **options})


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (
            lambda q: q(np.zeros((2, FEATURES), "int32")),
            TypeError,
            r"`inputs` must be a float tensor.*inputs of dtype int32",
        ),
        (
            lambda q: q.encode(np.zeros((2, 5), "float32")),
            ValueError,
            r"`inputs` must have the shape.*shape \(2, 5\), features=6",
        ),
        (
            lambda q: q(np.zeros((2, 5), "float32")),
            ValueError,
            "expected axis -1",
        ),
        (
            lambda q: kg.GumbelQuantizer(2, 2).encode(np.float32(1)),
            ValueError,
            r"`inputs` must have the shape \(..., features\)",
        ),
        (
            lambda q: kg.GumbelQuantizer(2, 2)(keras.Input((None,))),
            ValueError,
            r"`inputs` must have a known last axis.*shape \(None, None\)",
        ),
        (
            lambda q: q.encode(keras.Input((FEATURES,))),
            TypeError,
            "`inputs` must be a tensor with values.*inputs=<Ker",
        ),
        (
            lambda q: q.decode(keras.Input((2,), dtype="int32")),
            TypeError,
            "`codes` must be a tensor with values.*codes=<Ker",
        ),
        (
            lambda q: q.decode(np.zeros((3, 2), "float32")),
            TypeError,
            "`codes` must be integers. Received: codes of dtype float32",
        ),
        (
            lambda q: q.decode(np.zeros((2, 3), "int32")),
            ValueError,
            r"`codes` must have the shape.*shape \(2, 3\), num_groups=2",
        ),
        (
            lambda q: kg.GumbelQuantizer(2, 2).decode([[0]]),
            ValueError,
            "`decode` needs the codebook.*Received: a layer that is not built",
        ),
        (
            lambda q: q(features(3), mask=np.ones((2,), bool)),
            ValueError,
            r"`mask` must be bool.*mask of shape \(2,\)",
        ),
        (
            lambda q: q(features(3), mask=np.ones((3,), "float32")),
            ValueError,
            "`mask` must be bool.*dtype float32",
        ),
        (
            lambda q: q(features(3), class_mask=np.ones((3, CODES), bool)),
            ValueError,
            r"`class_mask` must broadcast.*shape \(3, 4\)",
        ),
        (
            lambda q: q(features(3), class_mask=np.ones((CODES,), "int32")),
            TypeError,
            "`class_mask` must be bool",
        ),
    ],
)
def test_calls_that_do_not_fit(call, exception, message):
    with pytest.raises(exception, match=message):
        call(quantizer())


@pytest.mark.slow_ids("eager-projection")
@pytest.mark.parametrize("similarity", ["projection", "distance"])
@pytest.mark.parametrize("mode", ["eager", *slow("graph", "compiled")])
def test_by_default_codes_begin_as_data(similarity, mode):
    """After one call, each vector of the batch has a code of its own."""
    layer = kg.GumbelQuantizer(
        64, FEATURES, similarity=similarity, noise_scale=0.0, seed=3
    )
    layer.build((None, FEATURES))
    x = features(64)
    in_mode(mode, lambda x: layer(x, training=True))(tensor(x))
    codes = to_numpy(layer.encode(x))
    assert len(np.unique(codes)) == 64
    logits = to_numpy(layer.logits(x))[:, 0]
    distances = np.square(x[:, None] - x[codes[:, 0].argsort()]).sum(axis=-1)
    spread = np.square(x - x.mean(axis=0)).sum(axis=-1).mean()
    # Minus the distances, up to what is the same for all codes.
    wanted = -30.0 / spread * distances
    wanted -= wanted.mean(axis=-1, keepdims=True)
    logits -= logits.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(logits, wanted, atol=1e-3)


def test_dead_codes_are_moved_and_take_the_vector_of_their_row():
    layer = quantizer(restart_after=2, noise_scale=0.0, hard=True)
    bias = np.zeros(GROUPS * CODES, "float32")
    bias[[1, 6]] = -1000.0  # Code 1 of the first group, 2 of the second.
    layer.bias.assign(bias)
    x = features(50)
    for _ in range(2):
        layer(tensor(x), training=True)
    assert not (to_numpy(layer.encode(x)) == [1, 2]).any()
    before = to_numpy(layer(tensor(x)))
    layer(tensor(x), training=True)
    codes = to_numpy(layer.encode(x))
    moved = codes == [1, 2]
    assert moved.any(axis=0).all()
    y = to_numpy(layer(tensor(x))).reshape(50, GROUPS, DIM)
    before = before.reshape(50, GROUPS, DIM)
    for group in range(GROUPS):
        given = y[moved[:, group], group][0]
        near = np.abs(before[:, group] - given).max(axis=-1)
        assert near.min() < 1e-6


@pytest.mark.parametrize("size", [0.01, 100.0])
@pytest.mark.parametrize("masked", [False, True])
def test_a_dead_code_parts_another(size, masked):
    """The rows nearer to its own than to their mean, however large logits."""
    x, mask = features(50), np.arange(50) < (30 if masked else 50)
    layer = kg.GumbelQuantizer(
        2,
        FEATURES,
        init_from_data=False,
        restart_after=1,
        noise_scale=0.0,
        seed=3,
    )
    layer.build((None, FEATURES))
    layer.kernel.assign(size * to_numpy(layer.kernel))
    # All rows have the first code.
    layer.bias.assign([1e4 * size, -1e4 * size])
    call = {"training": True, "mask": tensor(mask)}
    for _ in range(2):
        assert not to_numpy(layer.encode(x)).any()
        layer(tensor(x), **call)
    codes = to_numpy(layer.encode(x))[:, 0] == 1
    mean = np.square(x - x[mask].mean(axis=0)).sum(axis=-1)
    parts = [np.square(x - v).sum(axis=-1) < mean for v in x[mask]]
    assert any(np.array_equal(codes, part) for part in parts)
    assert 0 < codes[mask].sum() < mask.sum()


@pytest.mark.parametrize("masked", [False, True])
def test_the_diversity_is_that_of_the_mean(masked):
    layer = quantizer(diversity_weight=0.5)
    x, mask = features(20), np.arange(20) < 12
    given = np.where(mask[:, None], x, np.nan) if masked else x
    layer(
        tensor(given.astype("float32")),
        training=True,
        mask=tensor(mask) if masked else None,
    )
    (loss,) = to_numpy(layer.losses)
    logits = logits_of(layer, x[:12] if masked else x)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = (p / p.sum(axis=-1, keepdims=True)).mean(axis=0)
    perplexity = np.exp(-(p * np.log(p)).sum(axis=-1))
    wanted = 0.5 * (1 - perplexity.mean() / CODES)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_a_file_of_other_shapes_is_refused():
    """Before a weight is read: one may be larger than the memory."""
    kept = {}
    quantizer().save_own_variables(kept)
    kept = {key: np.asarray(to_numpy(x)) for key, x in kept.items()}
    other = kg.GumbelQuantizer(CODES + 1, GROUPS * DIM, GROUPS, **STAY)
    other.build((None, FEATURES))
    message = r"must have the shape of the layer's.*Received: shape \(6, 8\)"
    with pytest.raises(ValueError, match=message):
        other.load_own_variables(kept)


@pytest.mark.slow
def test_a_file_of_a_fitted_layer_goes_on(tmp_path):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((FEATURES,))
    layer = kg.GumbelQuantizer(16, FEATURES, restart_after=2, name="codes")
    model = keras.Model(inputs, layer(inputs))
    model.compile("adam", "mean_squared_error")
    x = features(40)
    settings = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(x, x, **settings)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(x, x, **settings)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_configurations_of_before_make_the_layer_of_before():
    config = quantizer().get_config()
    for name in ("similarity", *STAY):
        del config[name]
    layer = kg.GumbelQuantizer.from_config(config)
    assert layer.get_config() == quantizer(name=layer.name).get_config()
    del config["hard"]
    with pytest.raises(ValueError, match="Missing: \\['hard'\\]"):
        kg.GumbelQuantizer.from_config(config)
