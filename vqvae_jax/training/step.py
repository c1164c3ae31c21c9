"""Training steps: a pure function of the state and batches."""

import dataclasses

import jax
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE, VQVAEOutput
from vqvae_jax.parallel import sum_over_images


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step reads and writes.

    Attributes:
        params: the model's parameters.
        opt_state: the optimiser's state.
        totals: metrics since the last line of the log.
    """

    params: nnx.State
    opt_state: optax.OptState
    totals: Totals


def train_steps(
    graphdef: nnx.GraphDef[VQVAE],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    state: TrainState,
    images: UInt8[Array, "steps b h w c"],
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Moves the parameters, once a batch, by one step down the gradient of the loss.

    The model's loss has to be a mean over images: it is added up from parts of the batch.

    To be jitted with `graphdef`, `optimizer` and `mesh` bound, `state` donated.

    Args:
        graphdef: the model's structure.
        optimizer: the optax transformation that `state.opt_state` belongs to.
        mesh: the devices that each batch is split over.
        state: before the steps, replicated over them.
        images: uint8 [S, B, H, W, C], one batch for each step.

    Returns:
        The state after the steps, and the loss before each of them.
    """

    def loss_of(params: nnx.State, images: Array) -> tuple[Array, VQVAEOutput]:
        output = nnx.merge(graphdef, params)(to_floats(images))
        return output.loss, output

    def sums_of(params: nnx.State, images: Array) -> tuple[nnx.State, Totals]:
        gradients, output = jax.grad(loss_of, has_aux=True)(params, images)
        totals = Totals.of(output, state.totals.code_counts.shape[0])
        return jax.tree.map(lambda gradient: gradient * len(images), gradients), totals

    def step(state: TrainState, images: Array) -> tuple[TrainState, Array]:
        gradients, totals = sum_over_images(sums_of, mesh, state.params, images)
        gradients = jax.tree.map(lambda gradient: gradient / len(images), gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        after = TrainState(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            totals=state.totals + totals,
        )
        return after, totals.loss / len(images)

    return jax.lax.scan(step, state, images)
