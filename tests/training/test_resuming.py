"""A run resumes its own folder, and is refused another's before anything is trained."""

from pathlib import Path

import pytest

from configs import mnist, mnist_prior
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config
from vqvae_jax.training.resuming import check_resumes

RUN = Path("run")


def described(module, *, data="a", codes=None):
    config = Config.from_dict(module.get_config().to_dict()).to_dict()
    description = {"config": config, "data": {"digest": data, "source": f"the place of {data}"}}
    return description | ({"codes": {"digest": codes, "source": "runs/mnist"}} if codes else {})


@pytest.mark.parametrize("codes", [None, "c"])
def test_the_same_run_resumes(codes):
    check_resumes(RUN, described(mnist), described(mnist))
    saved = described(mnist_prior, codes="c")
    given = described(mnist_prior, codes=codes)  # yet to come where there are none
    given["config"]["training"]["num_epochs"] = 99
    check_resumes(RUN, saved, given)


@pytest.mark.parametrize(
    ("saved", "given", "message"),
    [
        (
            described(mnist),
            described(mnist_prior),
            "run holds the run of a VQ-VAE, not of a prior; use another --workdir",
        ),
        (
            described(mnist_prior, codes="c"),
            described(mnist),
            "run holds the run of a prior, not of a VQ-VAE; use another --workdir",
        ),
        (
            described(mnist),
            described(mnist, data="b"),
            "its data came from the place of a, now from the place of b; use the old",
        ),
        (
            described(mnist_prior, codes="c"),
            described(mnist_prior, codes="d"),
            "runs/mnist holds another VQ-VAE, or the same one trained further, than the one whose "
            "codes the prior of run has learned; use another --workdir",
        ),
    ],
)
def test_another_run_is_refused_in_words_of_its_own(saved, given, message):
    with pytest.raises(ConfigError) as refusal:
        check_resumes(RUN, saved, given)
    assert message in str(refusal.value)


def test_a_run_of_other_models_is_named():
    saved = {"config": {"training": described(mnist)["config"]["training"]}}
    with pytest.raises(ConfigError, match=r"run holds a run of vqvae_jax\.train; use another"):
        check_resumes(RUN, saved, described(mnist))


def test_a_changed_setting_is_named():
    given = described(mnist)
    given["config"]["training"]["seed"] = 3
    with pytest.raises(
        ConfigError, match=r"run holds a run with other settings: training.seed was"
    ):
        check_resumes(RUN, described(mnist), given)
