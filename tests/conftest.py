"""Settings of every test: shapes checked, warnings errors, four host devices."""

import os
import sys
from pathlib import Path

import hypothesis
import jax
import pytest
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

# In this order: the devices before JAX starts, the hook before the package is imported.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("vqvae_jax", "beartype.beartype")
sys.path.insert(0, str(Path(__file__).parent / "golden"))
hypothesis.settings.register_profile(
    "project", deadline=None, max_examples=30, derandomize=True, database=None
)
hypothesis.settings.load_profile("project")
os.environ["TFDS_DATA_DIR"] = os.devnull  # a test that forgets its data_dir shall fail


@pytest.fixture
def unchecked():
    """Switches the checks of shapes off: to see what a user sees, who has not switched them on."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
