"""The command line: what is said of a file that is no config."""

import re
from pathlib import Path

import pytest
from flax import nnx

import vqvae_jax
from vqvae_jax import DataConfig, LogWriter, Metric, NamedDataset
from vqvae_jax.components import known_kinds
from vqvae_jax.errors import ConfigError
from vqvae_jax.quantizers import Quantizer
from vqvae_jax.signatures import meanings, settings_of
from vqvae_jax.training.config import SECTIONS
from vqvae_jax.training.flags import parse
from vqvae_jax.training.help import component_help, help_text

pytestmark = pytest.mark.usefixtures("unchecked")  # settings are checked by their constructors


def refusal(*arguments):
    """Returns what train.py prints for some arguments."""
    with pytest.raises(ConfigError) as refused:
        parse([*map(str, arguments)])
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"step": 1}', "AttributeError: module 'config' has no attribute 'get_config'"),
        ("# Title\n\nSome prose.\n", "SyntaxError: invalid syntax (file, line 3)"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def get_config():\n    return 3", "AttributeError: 'int' object has no attribute "),
        ("def get_config(name):\n    return name", "TypeError: get_config() missing 1 required"),
        ("raise ValueError('two\\nlines')", "ValueError: two\nlines"),
    ],
)
def test_a_file_that_is_no_config_is_named_with_the_reason(tmp_path, content, reason):
    file = tmp_path / "file"
    file.write_text(content)
    said = refusal("--config", file)
    expected = f"{file} is not a config: it must be Python with get_config(), which returns a "
    assert said.startswith(f"{expected}ConfigDict ({reason}")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for file, reason in ((tmp_path / "none.py", "No such file"), (tmp_path, "Is a directory")):
        assert refusal("--config", file).startswith(f"{file} cannot be read: {reason}")


def parsed(*arguments):
    return parse([*map(str, arguments)])


def test_settings_are_replaced_wherever_they_are():
    config, workdir, processes = parsed(
        "--config=mnist_residual",
        "--config.model.quantizer.quantizers.1.num_embeddings=5",
        "--config.training.max_steps",
        3,
        "-config.training.accept_changes=true",
        "--config.training.clip_norm=None",
        "--config.data.archives=2024",
        "--config.model.quantizer.estimator=rotation_trick",
    )
    sizes = [stage["num_embeddings"] for stage in config.model["quantizer"]["quantizers"]]
    assert sizes == [11, 5]
    assert config.model["quantizer"]["estimator"] == "rotation_trick"
    assert (config.training.max_steps, config.training.accept_changes) == (3, True)
    assert config.training.clip_norm is None
    assert config.data.archives == "2024"  # a folder of that name
    assert (workdir, processes) == (Path("runs/mnist_residual"), None)


@pytest.mark.parametrize("flag", ["quantizer", "quantizer.kind"])
def test_another_kind_keeps_the_settings_that_it_takes(flag):
    """Whatever the order of the flags."""
    dim, kind = "--config.model.quantizer.embedding_dim=7", f"--config.model.{flag}=BSQ"
    for flags in ([dim, kind], [kind, dim]):
        quantizer = parsed("--config=mnist", *flags)[0].model["quantizer"]
        assert (quantizer["kind"], quantizer["embedding_dim"]) == ("BSQ", 7)
        assert quantizer["commitment_cost"] == 0.25  # of the config, not BSQ's default
        assert "num_embeddings" not in quantizer


def test_another_prior_keeps_what_is_not_the_networks():
    flags = ["--config.prior.num_layers=2", "--config.prior.kind=TransformerPrior"]
    config = parsed("--config=mnist_prior_conditional", *flags)[0]
    assert config.network["kind"] == "TransformerPrior"
    assert (config.network["num_layers"], config.network["channels"]) == (2, 64)
    assert config.prior.label_dropout == 0.1


@pytest.mark.parametrize(
    ("config", "flag", "said"),
    [
        ("mnist", "model.num_embeddings=3", "model.num_embeddings is now model.quantizer.num_emb"),
        (
            "mnist",
            "model.quantizer.levels=3",
            "model.quantizer.levels is unknown; model.quantizer ",
        ),
        ("mnist", "training.sead=3", "training.sead is unknown; did you mean training.seed?"),
        ("mnist", "trainin.seed=3", "trainin.seed is unknown; the sections are data, model, "),
        ("mnist", "Training.Seed=3", "Training.Seed is unknown; the sections are data, model, "),
        ("mnist", "model.learning_rate=1", "model.learning_rate is unknown; model has encoder, "),
        ("mnist", "prior.channels=3", "this config has no section prior"),
        ("mnist", "data=3", "data is a group of settings; it cannot be '3'"),
        ("mnist", "=3", " is unknown; the sections are"),
        ("mnist", "training.seed.x=3", "training.seed.x is unknown; training.seed is 0"),
        ("mnist", "model.likelihood=FSQ", "model.likelihood.kind is 'FSQ'; it must be one of Abs"),
        ("mnist", "training.batch_size=many", "training.batch_size is 'many'; it must be an int"),
        ("mnist", "training.learning_rate=nan", "training.learning_rate is nan; it must be a fin"),
        ("mnist", "training.seed", "--config.training.seed has no value"),
        (
            "mnist_residual",
            "model.quantizer.quantizers.2.decay=0",
            "model.quantizer.quantizers.2 is unknown; model.quantizer.quantizers has the items 0",
        ),
        (
            "mnist_residual",
            "model.quantizer.num_embeddings=3",
            "model.quantizer.num_embeddings is unknown; did you mean model.quantizer.quantizers.",
        ),
        ("mnist", "log.writers.0.kind=FSQ", "log.writers.0.kind is 'FSQ'; it must be one of Tens"),
        ("mnist_prior", "prior.dropout=0.5", "prior.dropout is unknown; did you mean prior.label"),
    ],
)
def test_a_setting_that_cannot_be_replaced_is_named(config, flag, said):
    assert refusal(f"--config={config}", f"--config.{flag}").startswith(said)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_processes=2"], "coordinator_address, num_processes and process_id must all be"),
        (["--num_processes=x"], "argument --num_processes: invalid int value: 'x' (usage: "),
        (
            ["--num_processes=2", "--process_id=2", "--coordinator_address=a:1"],
            "process_id is 2; it must be from 0 to 1",
        ),
        (
            ["--num_processes=2", "--process_id=0", "--coordinator_address=a"],
            "coordinator_address is 'a'; it must be HOST:PORT",
        ),
        (["stray"], "'stray' is not a flag (usage: "),
        (["--wrkdir=a"], "'--wrkdir=a' is not a flag (usage: "),
    ],
)
def test_flags_that_do_not_fit_are_named(flags, said):
    assert refusal("--config=mnist", *flags).startswith(said)


def test_help_says_what_every_setting_is():
    text = help_text()
    for section, kind in SECTIONS.items():
        if section in ("model", "vqvae_training"):
            continue
        kind = NamedDataset if section == "data" else kind
        for name in settings_of(kind):
            assert f"  --config.{section}.{name}: " in text
            assert meanings(kind)[name] in " ".join(text.split())
    assert "--config.training.clip_norm: None or float; default: None\n      global norm" in text
    for name in known_kinds(Quantizer):
        assert name in text


@pytest.mark.parametrize(
    "name",
    [name for of in (nnx.Module, DataConfig, LogWriter, Metric) for name in known_kinds(of)],
)
def test_help_of_a_component_says_what_may_be_set(name):
    kind, text = getattr(vqvae_jax, name), component_help(name)
    assert text.startswith(f"{name}: {kind.__doc__.partition(chr(10))[0]}")
    shown = re.findall(r"^  (\w+): ", text, re.MULTILINE)
    assert {*shown} <= {*settings_of(kind)}
    for setting in shown:
        assert meanings(kind)[setting] in " ".join(text.split()), setting


def test_help_of_what_is_filled_in_is_left_out():
    for name in ("Encoder", "Decoder", "SquaredError"):
        assert component_help(name).endswith("no settings")
    assert "  in_dim: int; must be set" in component_help("CategoricalHead")
    assert "num_classes" not in component_help("TransformerPrior")
    assert "  num_embeddings: int; must be set" in component_help("VectorQuantizer")


def test_the_log_is_written_where_the_flags_say():
    def writers(*flags):
        return parsed("--config=mnist", *flags)[0].log["writers"]

    assert writers() == ({"kind": "TensorBoard"},)
    assert writers("--config.log.writers=[]") == ()
    chosen = writers("--config.log.writers=[{'kind': 'Wandb', 'project': 'a'}]")
    assert chosen == ({"kind": "Wandb", "project": "a", "name": None},)
    flags = "--config.log.writers.0.project=b", "--config.log.writers.0.kind=Wandb"
    assert writers(*flags) == ({"kind": "Wandb", "project": "b", "name": None},)
    assert "--config.log.writers: several LogWriter; default: ({'kind': 'Tens" in help_text()


def test_help_says_where_a_run_goes():
    assert "--workdir: the run's folder; default: runs/NAME for a config NAME.py" in help_text()
