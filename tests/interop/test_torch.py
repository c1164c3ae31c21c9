"""Parity with PyTorch, on golden values that tests/golden/make_golden.py makes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import ADAM_STEPS, CASES, batch, state_dict
from flax import nnx

import vqvae_jax
from tests.conftest import promoting, some_by_default
from vqvae_jax import FSQ, VQVAE, CategoricalHead, Encoder, Tokenizer, VectorQuantizer

pytestmark = pytest.mark.usefixtures("optimized")

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "golden.npz")


def make_model(case):
    model = VQVAE(*case.arguments, rngs=nnx.Rngs(0))
    current = vqvae_jax.to_torch_state_dict(model)
    weights = state_dict({name: value.shape for name, value in current.items()})
    vqvae_jax.load_torch_state_dict(model, weights)
    return model


def golden(case, group):
    prefix = f"{case.name}/{group}/"
    return {name.removeprefix(prefix): GOLDEN[name] for name in GOLDEN if name.startswith(prefix)}


@pytest.fixture(
    scope="module", params=some_by_default(CASES, CASES[:1]), ids=lambda case: case.name
)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def steps(case):
    """The outputs and gradients of the first steps of Adam."""
    optimizer = promoting(optax.adam(1e-3))
    graphdef, params = nnx.split(make_model(case))

    @jax.jit
    def step(params, opt_state, images):
        def loss_of(params):
            output = nnx.merge(graphdef, params)(images)
            return output.loss, output

        gradients, output = jax.grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, (output, gradients)

    opt_state, results = optimizer.init(params), []
    for index in range(ADAM_STEPS):
        params, opt_state, result = step(params, opt_state, jnp.asarray(batch(case, index)))
        results.append(result)
    return results


def test_forward_values_are_pytorchs(case, steps):
    output, _ = steps[0]
    ours = {
        "latents": output.latents,
        "indices": output.quantized.indices,
        "reconstruction": output.reconstruction,
        "codebook_loss": output.quantized.codebook_loss,
        "commitment_loss": output.quantized.commitment_loss,
        "reconstruction_loss": output.reconstruction_loss,
        "loss": output.loss,
    }
    expected = golden(case, "forward")
    assert set(ours) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_gradients_are_pytorchs(case, steps):
    _, gradients = steps[0]
    model = make_model(case)
    nnx.update(model, gradients)  # to have their names and axes changed to PyTorch's
    ours = vqvae_jax.to_torch_state_dict(model)
    expected = golden(case, "gradient")
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > 0
        error = np.linalg.norm(ours[name] - value) / np.linalg.norm(value)
        assert error < 1e-4, name
        largest = np.abs(value).max()
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-4 * largest, err_msg=name)


def test_adam_steps_are_pytorchs(case, steps):
    losses = [output.loss for output, _ in steps]
    np.testing.assert_allclose(losses, GOLDEN[f"{case.name}/adam_losses"], rtol=1e-3)


@pytest.fixture
def model():
    return VQVAE(1, 4, 8, 0.1, rngs=nnx.Rngs(0))


def test_round_trip_is_exact(model):
    other = VQVAE(1, 4, 8, 0.1, rngs=nnx.Rngs(1))
    vqvae_jax.load_torch_state_dict(other, vqvae_jax.to_torch_state_dict(model))
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(other)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def with_quantizer(seed, **options):
    rngs = nnx.Rngs(seed)
    return VQVAE(1, 4, 8, 0.1, quantizer=VectorQuantizer(4, 8, **options, rngs=rngs), rngs=rngs)


@pytest.mark.slow
def test_loaded_codes_are_initial_and_new_ones():
    """Neither k-means nor the uses of the codes before throws them away."""
    keys = jax.random.split(jax.random.key(0), 3)
    options = {"kmeans_init": True, "revival_threshold": 0.1}
    model, other = with_quantizer(0, **options), with_quantizer(1, **options)
    weights = vqvae_jax.to_torch_state_dict(model)
    other.quantizer.usage[...] = jnp.zeros(8)
    vqvae_jax.load_torch_state_dict(other, weights)
    z = jax.random.normal(keys[0], (64, 4))
    other.quantizer.initialize(z, key=keys[1])
    other.quantizer.update(z, jnp.zeros(64, jnp.int32), key=keys[2])
    codes = weights["vq_layer.embeddings.weight"]
    np.testing.assert_array_equal(other.quantizer.codebook, codes)


def with_more():
    model = with_quantizer(0)
    model.decoder.scale = nnx.Param(jnp.ones(1))
    return model


class OwnEncoder(Encoder):
    """Not the seed's, for all that the names say."""


def with_own_encoder():
    model = with_quantizer(0)
    rngs = nnx.Rngs(0)
    return Tokenizer(
        OwnEncoder(1, model.quantizer.embedding_dim, rngs=rngs),
        model.quantizer,
        model.decoder,
        model.likelihood,
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (with_own_encoder, r"the model's encoder is a OwnEncoder; .* are those of vqvae_jax\.Enc"),
        (
            lambda: VQVAE(
                1, 4, 8, 0.1, head=CategoricalHead(3, 1, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0)
            ),
            "the model has a head, a CategoricalHead; PyTorch's names are those of a model without",
        ),
        (with_more, r"the model has decoder\.scale; PyTorch's names are those of a model without"),
        (
            lambda: VQVAE(1, 3, 64, 0.1, quantizer=FSQ((4, 4, 4)), rngs=nnx.Rngs(0)),
            "the model's quantizer is a FSQ; PyTorch's names are those of a VectorQuantizer",
        ),
    ],
)
def test_a_model_with_more_than_the_names_is_refused(build, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        vqvae_jax.to_torch_state_dict(model)
    with pytest.raises(ValueError, match=message):
        vqvae_jax.load_torch_state_dict(model, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("decoder.convs.4.bias"), r"no decoder\.convs\.4\.bias"),
        (lambda d: d.update(extra=np.zeros(3)), "has extra, which the model does not have"),
        (
            lambda d: d.update({"encoder.convs.0.weight": np.zeros((32, 1, 3, 4), np.float32)}),
            r"encoder\.convs\.0\.weight has shape \(32, 1, 3, 4\); it must be \(32, 1, 3, 3\)",
        ),
        (
            lambda d: d.update({"encoder.convs.0.bias": np.zeros(32, np.int64)}),
            r"encoder\.convs\.0\.bias has type int64",
        ),
    ],
)
def test_wrong_state_dict_is_refused_and_changes_nothing(model, change, message):
    before = vqvae_jax.to_torch_state_dict(model)
    wrong = {name: value + 1 for name, value in before.items()}
    change(wrong)
    with pytest.raises(ValueError, match=message):
        vqvae_jax.load_torch_state_dict(model, wrong)
    for name, value in vqvae_jax.to_torch_state_dict(model).items():
        np.testing.assert_array_equal(value, before[name])
