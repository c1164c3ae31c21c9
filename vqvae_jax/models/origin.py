"""The released weights that a tokenizer was made from."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Origin:
    """A family of released weights, and a model of it.

    Attributes:
        family: its name, as `from_state_dict` takes it.
        config: the model's config in the original's terms, as JSON.
    """

    family: str
    config: str
