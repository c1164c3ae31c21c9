"""Training states that hold a moving average of the weights beside the weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqvae_jax.pretrained.family import State, without
from vqvae_jax.pretrained.taming_vqgan import TRAINING

_PREFIX = "model_ema."


def averaged(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the entries of the tokenizer, averages in place of the last weights; see `Family`.

    The average of encoder.conv_in.weight is model_ema.encoderconv_inweight. SEED-Voken evaluates
    with the averages, which all of its released files have.
    """
    entries = without(*TRAINING, _PREFIX)(state, config)
    return {
        name: state.get(_PREFIX + name.replace(".", ""), array) for name, array in entries.items()
    }
