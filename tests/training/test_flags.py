"""The command line: what is said of a file that is no config."""

import sys

import pytest
from absl.flags import FLAGS

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.flags import help_text, parse

# ml_collections'
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def refusal(monkeypatch):
    """What train.py says of some arguments."""

    def refusal(*arguments):
        # ml_collections reads every config into this module, over what another file left there.
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        before = {*FLAGS}
        try:
            with pytest.raises(ConfigError) as refused:
                parse([*map(str, arguments)])
        finally:
            FLAGS.remove_flag_values({*FLAGS} - before)
        return str(refused.value)

    return refusal


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"step": 1}', "AttributeError: module 'config_config' has no attribute 'get_config'"),
        ("# Title\n\nSome prose.\n", "SyntaxError: invalid syntax (file, line 3)"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def get_config():\n    return 3", "AttributeError: 'int' object has no attribute "),
        ("def get_config(name):\n    return name", "TypeError: get_config() missing 1 required"),
        ("raise ValueError('two\\nlines')", "ValueError: two\nlines"),
    ],
)
def test_a_file_that_is_no_config_is_named_with_the_reason(tmp_path, refusal, content, reason):
    file = tmp_path / "file"
    file.write_text(content)
    said = refusal("--config", file)
    expected = f"{file} is not a config: it must be Python with get_config(), which returns a "
    assert said.startswith(f"{expected}ConfigDict ({reason}")


def test_a_file_that_cannot_be_read_is_named(tmp_path, refusal):
    for file, reason in ((tmp_path / "none.py", "No such file"), (tmp_path, "Is a directory")):
        assert refusal("--config", file).startswith(f"{file} cannot be read: {reason}")


def test_help_says_where_a_run_goes():
    assert "--workdir: the run's folder; default: runs/NAME for a config NAME.py" in help_text()
