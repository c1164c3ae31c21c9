"""The gradient of a batch's loss, in one of two ways that both stay within a core's cache.

With a quantizer that treats every token by itself, the whole model runs on a few examples at a
time. One that draws random numbers, or averages over the batch inside a loss, must see the batch at
once: then encoder and decoder run on a few examples at a time, and the quantizer between them on
all.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from vqvae_jax.metrics.totals import Totals
from vqvae_jax.models import Tokenizer, TokenizerOutput
from vqvae_jax.parallel import examples_at_a_time, sum_over_examples
from vqvae_jax.quantizers import Quantized
from vqvae_jax.tasks.learning import Weights
from vqvae_jax.values import to_values

Seen = tuple[Float[Array, "b *latent_spatial d"], Int[Array, " b *codes"]]


def batch_gradients(
    graphdef: nnx.GraphDef[Tokenizer],
    mesh: Mesh,
    weights: Weights,
    batch: Array,
    key: jax.Array,
    accumulate: int = 1,
) -> tuple[nnx.State, Totals, Seen]:
    """Returns the gradient of a batch's loss, with its metrics; call it under jit.

    Args:
        graphdef: the model's structure, from `split_model`.
        mesh: the devices that the batch is split over.
        weights: the model's parameters and its other variables, replicated over them.
        batch: data [B, *spatial, C], as `to_values` takes them.
        key: draws the quantizer's random numbers.
        accumulate: the least number of parts that the networks are computed in, one after the
            other; the quantizer's statistics are those of the whole batch.

    Returns:
        The gradient with respect to the parameters, the metrics' sums, and the quantizer's inputs
        and indices.
    """
    if nnx.merge(graphdef, *weights).quantizer.per_token:
        return _in_parts(graphdef, mesh, weights, batch, accumulate)
    return _in_stages(graphdef, mesh, weights, batch, key, accumulate)


def _in_parts(
    graphdef: nnx.GraphDef[Tokenizer], mesh: Mesh, weights: Weights, batch: Array, accumulate: int
) -> tuple[nnx.State, Totals, Seen]:
    def loss_of(
        params: nnx.State, variables: nnx.State, part: Array
    ) -> tuple[Array, TokenizerOutput]:
        model = nnx.merge(graphdef, params, variables)
        output = model(to_values(part, model.value_range))
        return output.loss, output

    def sums_of(weights: Weights, part: Array) -> tuple[tuple[nnx.State, Totals], Seen]:
        gradients, output = jax.grad(loss_of, has_aux=True)(*weights, part)
        totals = Totals.of(output, nnx.merge(graphdef, *weights).quantizer)
        seen = output.latents, output.quantized.indices
        return (jax.tree.map(lambda gradient: gradient * len(part), gradients), totals), seen

    (gradients, totals), seen = sum_over_examples(
        sums_of,
        mesh,
        weights,
        batch,
        at_a_time=examples_at_a_time(batch.shape[1:-1], weights[0]),
        accumulate=accumulate,
    )
    return jax.tree.map(lambda gradient: gradient / len(batch), gradients), totals, seen


def _in_stages(
    graphdef: nnx.GraphDef[Tokenizer],
    mesh: Mesh,
    weights: Weights,
    batch: Array,
    key: jax.Array,
    accumulate: int,
) -> tuple[nnx.State, Totals, Seen]:
    params, variables = weights
    in_parts = functools.partial(
        sum_over_examples,
        mesh=mesh,
        params=params,
        at_a_time=examples_at_a_time(batch.shape[1:-1], params),
        accumulate=accumulate,
    )

    def latents_of(params: nnx.State, part: Array) -> Array:
        model = nnx.merge(graphdef, params, variables)
        return model.latents(to_values(part, model.value_range))

    def quantize(params: nnx.State, z: Array) -> tuple[tuple[Array, Array], Quantized]:
        quantized = nnx.merge(graphdef, params, variables).quantizer(z, key=key)
        return (quantized.values, quantized.loss), quantized

    def error_of(params: nnx.State, values: Array, part: Array) -> Array:
        """Returns a part's mean reconstruction loss, times its share of the batch."""
        model = nnx.merge(graphdef, params, variables)
        x = to_values(part, model.value_range)
        return model.reconstruction_loss(model.decoded(values), x) * (len(x) / len(batch))

    def encode(params: nnx.State, part: Array) -> tuple[tuple[()], Array]:
        return (), latents_of(params, part)

    def decode(
        params: nnx.State, part_and_values: tuple[Array, Array]
    ) -> tuple[tuple[Array, nnx.State], Array]:
        part, values = part_and_values
        error, (gradients, at_values) = jax.value_and_grad(error_of, (0, 1))(params, values, part)
        return (error, gradients), at_values

    def pull_through_encoder(
        params: nnx.State, part_and_cotangents: tuple[Array, Array]
    ) -> tuple[nnx.State, tuple[()]]:
        part, at_z = part_and_cotangents
        return jax.vjp(lambda params: latents_of(params, part), params)[1](at_z)[0], ()

    _, z = in_parts(encode, examples=batch)
    (values, loss), pull_through_quantizer, quantized = jax.vjp(quantize, params, z, has_aux=True)
    (error, of_decoder), at_values = in_parts(decode, examples=(batch, values))
    of_quantizer, at_z = pull_through_quantizer((at_values, jnp.ones_like(loss)))
    of_encoder, _ = in_parts(pull_through_encoder, examples=(batch, at_z))
    output = TokenizerOutput.of(error, None, z, quantized)
    totals = Totals.of(output, nnx.merge(graphdef, *weights).quantizer)
    gradients = jax.tree.map(lambda *parts: sum(parts), of_encoder, of_quantizer, of_decoder)
    return gradients, totals, (z, quantized.indices)
