"""What training says of what JAX cannot do."""

import jax
import pytest

from configs import mnist
from vqvae_jax.errors import TrainingError
from vqvae_jax.training import train as module
from vqvae_jax.training.config import Config


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("RESOURCE_EXHAUSTED: no 8 bytes", "a smaller training.batch_size takes less memory"),
        ("UNAVAILABLE: nobody there", "the same command goes on"),
    ],
)
def test_what_jax_cannot_do_is_one_line(monkeypatch, tmp_path, reason, advice):
    def fail(**settings):
        raise jax.errors.JaxRuntimeError(f"{reason}\nand where")

    monkeypatch.setattr(module, "load_dataset", fail)
    config = Config.from_dict(mnist.get_config().to_dict())
    with pytest.raises(TrainingError) as refusal:
        module.train(config, tmp_path / "run")
    assert str(refusal.value) == f"JAX gave up: {reason}; {advice}"
