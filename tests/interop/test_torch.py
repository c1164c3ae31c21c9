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
from tests.conftest import promoting
from vqvae_jax import VQVAE

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


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("decoder.convs.4.bias"), r"no decoder\.convs\.4\.bias"),
        (lambda d: d.update(extra=np.zeros(3)), "has extra, which the model has not"),
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
