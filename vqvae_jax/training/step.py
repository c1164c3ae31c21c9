"""One training step: a pure function of the state and a batch."""

import dataclasses

import jax
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE, VQVAEOutput


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


def train_step(
    graphdef: nnx.GraphDef[VQVAE],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    images: UInt8[Array, "b h w c"],
) -> tuple[TrainState, Float[Array, ""]]:
    """Moves the parameters by one step down the gradient of the loss.

    To be jitted with `graphdef` and `optimizer` bound, `state` donated.

    Args:
        graphdef: the model's structure.
        optimizer: the optax transformation that `state.opt_state` belongs to.
        state: before the step.
        images: uint8 [B, H, W, C].

    Returns:
        The state after the step, and the loss before it.
    """

    def loss_of(params: nnx.State) -> tuple[Array, VQVAEOutput]:
        output = nnx.merge(graphdef, params)(to_floats(images))
        return output.loss, output

    gradients, output = jax.grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    after = TrainState(
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        totals=state.totals + Totals.of(output, state.totals.code_counts.shape[0]),
    )
    return after, output.loss
