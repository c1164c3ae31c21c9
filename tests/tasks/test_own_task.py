"""A task of a user's own, two networks and two optimizers, through the loop: killed and resumed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.end_to_end.programs import assert_same_run, metrics
from vqvae_jax.data import ArraySource
from vqvae_jax.tasks import Evaluation, HasHistograms, Task
from vqvae_jax.training.checkpoint import latest_checkpoint
from vqvae_jax.training.interruption import Interrupted
from vqvae_jax.training.loop import Run
from vqvae_jax.training.settings import TrainingConfig

NUMBERS = np.random.RandomState(0).normal(3.0, 0.5, (52, 1)).astype(np.float32)


class Critic(nnx.Module):
    def __init__(self, *, rngs):
        self.hidden, self.out = nnx.Linear(1, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.tanh(self.hidden(x)))[:, 0]


class Adversarial:
    """Noise through an affine generator, and a critic that tells it from the data; by turns."""

    monitor, progress = "distance", "critic_loss"

    def __init__(self):
        self.tx = {"generator": optax.adam(5e-2), "critic": optax.sgd(1e-2)}
        self.graphs = {}

    def init(self, key, batch):
        networks = {
            "generator": nnx.Linear(1, 1, rngs=nnx.Rngs(key)),
            "critic": Critic(rngs=nnx.Rngs(1)),
        }
        state = {}
        for name, network in networks.items():
            self.graphs[name], state[name] = nnx.split(network)
            state[f"{name}_optimizer"] = self.tx[name].init(state[name])
        return state | {"turn": jnp.zeros((), jnp.int32)}

    def train_step(self, state, batch, key, mesh):
        numbers = batch["number"]
        noise = jax.random.normal(key, numbers.shape)

        def critic_loss(generator, critic):
            judge = nnx.merge(self.graphs["critic"], critic)
            made = judge(nnx.merge(self.graphs["generator"], generator)(noise))
            return jnp.mean(nnx.softplus(made)) + jnp.mean(nnx.softplus(-judge(numbers)))

        networks = state["generator"], state["critic"]
        loss, gradients = jax.value_and_grad(critic_loss, (0, 1))(*networks)
        after = state | {"turn": state["turn"] + 1}
        for name, gradient, sign in zip(("generator", "critic"), gradients, (-1, 1), strict=True):
            due = state["turn"] % 2 == ("generator", "critic").index(name)
            with jax.numpy_dtype_promotion("standard"):
                updates, moments = self.tx[name].update(
                    jax.tree.map(lambda leaf, s=sign: s * leaf, gradient),
                    state[f"{name}_optimizer"],
                )
            moved = {name: optax.apply_updates(state[name], updates), f"{name}_optimizer": moments}
            stayed = {part: state[part] for part in moved}
            after |= jax.tree.map(lambda new, old, d=due: jnp.where(d, new, old), moved, stayed)
        count = len(numbers)
        return after, {"count": jnp.asarray(float(count)), "critic_loss": loss * count}

    def eval_step(self, state, batch, mesh):
        center = nnx.merge(self.graphs["generator"], state["generator"])(jnp.zeros((1, 1)))[0, 0]
        return {
            "count": jnp.asarray(float(len(batch["number"]))),
            "distance": jnp.sum(jnp.abs(batch["number"] - center)),
        }

    def metrics(self, sums):
        return {name: float(sums[name] / sums["count"]) for name in sums if name != "count"}

    def summary(self, metrics):
        return f"distance {metrics['distance']:.3f}"

    def figures(self, state, evaluation):
        assert isinstance(evaluation, Evaluation)
        return {"note.png": b"not drawn"}


def run_in(workdir):
    workdir.mkdir(exist_ok=True)
    settings = TrainingConfig(
        batch_size=8, learning_rate=1.0, num_epochs=10, seed=0, log_every=7, checkpoint_every=10
    )
    return Run(
        Adversarial(),
        ArraySource({"number": NUMBERS[:44]}),
        ArraySource({"number": NUMBERS[44:]}),
        settings,
        jax.devices()[:2],
        workdir,
        description={},
        about="44 numbers",
        checkpoint=latest_checkpoint(workdir),
    )


@pytest.mark.parametrize(
    ("death", "resumes_at"),
    [pytest.param(Interrupted(15), 25, marks=pytest.mark.slow), (SystemError(), 24)],
)
def test_a_task_of_ones_own_is_trained_killed_and_resumed(tmp_path, monkeypatch, death, resumes_at):
    assert isinstance(Adversarial(), Task)
    assert not isinstance(Adversarial(), HasHistograms)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_in(whole).train()
    assert (whole / "note.png").read_bytes() == b"not drawn"
    distances = [record["distance"] for record in metrics(whole) if record["split"] == "test"]
    assert distances[-1] < 0.5 * distances[0]

    def dispatch(run, original=Run._dispatch):
        if run.step == 25:
            raise death
        return original(run)

    monkeypatch.setattr(Run, "_dispatch", dispatch)
    with pytest.raises(type(death)):
        run_in(killed).train()
    monkeypatch.undo()
    resumed = run_in(killed)
    assert resumed.step == resumes_at
    resumed.train()
    assert_same_run(killed, whole, 60)
