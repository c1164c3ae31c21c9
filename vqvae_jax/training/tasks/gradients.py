"""The gradient of a batch's loss, in one of two ways that both keep to a core's cache.

A quantizer that treats every token by itself lets the whole model run on a few images at a time.
One that draws random numbers, or averages over the batch inside a loss, has to see the batch at
once: then encoder and decoder run on a few images at a time, and the quantizer between them on all.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE, VQVAEOutput
from vqvae_jax.parallel import sum_over_images
from vqvae_jax.pixels import to_floats
from vqvae_jax.quantizers import Quantized
from vqvae_jax.training.tasks.base import Weights

Seen = tuple[Float[Array, "b h_latent w_latent d"], Int[Array, "b h_latent w_latent *n"]]


def batch_gradients(
    graphdef: nnx.GraphDef[VQVAE],
    mesh: Mesh,
    weights: Weights,
    images: UInt8[Array, "b h w c"],
    key: jax.Array,
) -> tuple[nnx.State, Totals, Seen]:
    """The gradient of the loss of a batch, with its metrics; to be called under jit.

    Args:
        graphdef: the model's structure, from `split_model`.
        mesh: the devices that the batch is split over.
        weights: the model's parameters and its other variables, replicated over them.
        images: uint8 [B, H, W, C].
        key: draws the quantizer's random numbers.

    Returns:
        The gradient with respect to the parameters, the metrics' sums, and what the quantizer was
        given and chose.
    """
    if nnx.merge(graphdef, *weights).quantizer.per_token:
        return _in_parts(graphdef, mesh, weights, images)
    return _in_stages(graphdef, mesh, weights, images, key)


def _in_parts(
    graphdef: nnx.GraphDef[VQVAE], mesh: Mesh, weights: Weights, images: Array
) -> tuple[nnx.State, Totals, Seen]:
    def loss_of(
        params: nnx.State, variables: nnx.State, images: Array
    ) -> tuple[Array, VQVAEOutput]:
        output = nnx.merge(graphdef, params, variables)(to_floats(images))
        return output.loss, output

    def sums_of(weights: Weights, images: Array) -> tuple[tuple[nnx.State, Totals], Seen]:
        gradients, output = jax.grad(loss_of, has_aux=True)(*weights, images)
        totals = Totals.of(output, nnx.merge(graphdef, *weights).quantizer)
        seen = output.latents, output.quantized.indices
        return (jax.tree.map(lambda gradient: gradient * len(images), gradients), totals), seen

    (gradients, totals), seen = sum_over_images(sums_of, mesh, weights, images)
    return jax.tree.map(lambda gradient: gradient / len(images), gradients), totals, seen


def _in_stages(
    graphdef: nnx.GraphDef[VQVAE], mesh: Mesh, weights: Weights, images: Array, key: jax.Array
) -> tuple[nnx.State, Totals, Seen]:
    params, variables = weights

    def latents_of(params: nnx.State, images: Array) -> Array:
        return nnx.merge(graphdef, params, variables).latents(to_floats(images))

    def quantize(params: nnx.State, z: Array) -> tuple[tuple[Array, Array], Quantized]:
        quantized = nnx.merge(graphdef, params, variables).quantizer(z, key=key)
        return (quantized.values, quantized.loss), quantized

    def error_of(params: nnx.State, values: Array, images: Array) -> Array:
        """The reconstruction loss, times the share of the batch that it is the mean of."""
        model, x = nnx.merge(graphdef, params, variables), to_floats(images)
        return model.reconstruction_loss(model.decoder(values), x) * (len(x) / batch)

    def encode(params: nnx.State, images: Array) -> tuple[tuple[()], Array]:
        return (), latents_of(params, images)

    def decode(
        params: nnx.State, images_and_values: tuple[Array, Array]
    ) -> tuple[tuple[Array, nnx.State], Array]:
        images, values = images_and_values
        error, (gradients, to_values) = jax.value_and_grad(error_of, (0, 1))(params, values, images)
        return (error, gradients), to_values

    def pull_through_encoder(
        params: nnx.State, images_and_cotangents: tuple[Array, Array]
    ) -> tuple[nnx.State, tuple[()]]:
        images, to_z = images_and_cotangents
        return jax.vjp(lambda params: latents_of(params, images), params)[1](to_z)[0], ()

    batch = len(images)
    _, z = sum_over_images(encode, mesh, params, images)
    (values, loss), pull_through_quantizer, quantized = jax.vjp(quantize, params, z, has_aux=True)
    (error, of_decoder), to_values = sum_over_images(decode, mesh, params, (images, values))
    of_quantizer, to_z = pull_through_quantizer((to_values, jnp.ones_like(loss)))
    of_encoder, _ = sum_over_images(pull_through_encoder, mesh, params, (images, to_z))
    output = VQVAEOutput(
        loss=error + loss,
        reconstruction=None,
        reconstruction_loss=error,
        latents=z,
        quantized=quantized,
    )
    totals = Totals.of(output, nnx.merge(graphdef, *weights).quantizer)
    gradients = jax.tree.map(lambda *parts: sum(parts), of_encoder, of_quantizer, of_decoder)
    return gradients, totals, (z, quantized.indices)
