"""The constructor arguments of vector-quantize-pytorch's classes: which have an equal here."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from vqvae_jax.checks import check_choice, did_you_mean
from vqvae_jax.pretrained import vector_quantize_builders as builders
from vqvae_jax.quantizers import Quantizer


def quantizer_for(kind: str, config: Mapping[str, Any]) -> Quantizer:
    """Returns the quantizer that computes what a module of vector-quantize-pytorch does.

    Args:
        kind: the name of its class.
        config: the arguments of its constructor, by name.

    Raises:
        ValueError: there is no such class or argument, or nothing here is equal to it.
    """
    known = _KINDS[check_choice("kind", kind, _KINDS)]
    names = {*known.required, *known.optional, *known.fixed, *known.without_effect}
    for name in config:
        if name not in names:
            raise ValueError(f"{kind} cannot take {name}{did_you_mean(name, names)}")
        if name in known.fixed and config[name] != known.fixed[name]:
            raise ValueError(
                f"{kind}'s {name} is {config[name]!r}; only its default, {known.fixed[name]!r}, "
                "has an equal here"
            )
    for name in known.required:
        if name not in config:
            raise ValueError(f"{kind}'s {name} is not given; it has no default")
    used = {*known.required, *known.optional}
    return known.builders[0](**{name: value for name, value in config.items() if name in used})


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A class there: how its equal is built, and what becomes of the constructor's arguments.

    Attributes:
        builders: from the one that is called to those that it passes arguments on to.
        fixed: arguments that only have an equal at their default, and that default.
        without_effect: those of initial codes, of the layout, and of what is fixed.
    """

    builders: tuple[Callable[..., Quantizer], ...]
    fixed: dict[str, Any]
    without_effect: set[str]

    @property
    def required(self) -> list[str]:
        """The arguments without a default."""
        return [p.name for p in self._parameters() if p.default is p.empty]

    @property
    def optional(self) -> list[str]:
        """The arguments with a default."""
        return [p.name for p in self._parameters() if p.default is not p.empty]

    def _parameters(self) -> list[inspect.Parameter]:
        parameters = [p for f in self.builders for p in inspect.signature(f).parameters.values()]
        return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


_CODEBOOK_FIXED = {
    "heads": 1,
    "separate_codebook_per_head": False,
    "layernorm_after_project_in": False,
    "commitment_use_cross_entropy_loss": False,
    "orthogonal_reg_weight": 0.0,
    "codebook_diversity_loss_weight": 0.0,
    "stochastic_sample_codes": False,
    "straight_through": False,
    "directional_reparam": False,
    "vq_bridge": None,
    "manual_ema_update": False,
    "affine_param": False,
    "sync_update_v": 0.0,
    "return_zeros_for_masked_padding": True,
    "route_gradients_to_input": True,
}
_CODEBOOK_WITHOUT_EFFECT = {
    "kmeans_init",
    "kmeans_iters",
    "sync_kmeans",
    "sync_codebook",
    "channel_last",
    "accept_image_fmap",
    "accept_3d_fmap",
    "in_place_codebook_optimizer",
    "manual_in_place_optimizer_update",
    "orthogonal_reg_active_codes_only",
    "orthogonal_reg_max_codes",
    "codebook_diversity_temperature",
    "sample_codebook_temp",
    "directional_reparam_variance",
    "sync_affine_param",
    "affine_param_batch_decay",
    "affine_param_codebook_decay",
}
_RESIDUAL_FIXED = {
    **_CODEBOOK_FIXED,
    "use_cosine_sim": False,
    "freeze_codebook": False,  # which its forward overrides there
    "diveq": False,
    "implicit_neural_codebook": False,
    "beam_size": None,
    "eval_beam_size": None,
    "quant_grad_frac": 0.0,
}
_RESIDUAL_WITHOUT_EFFECT = _CODEBOOK_WITHOUT_EFFECT | {"mlp_kwargs", "beam_score_quantizer_weights"}

_KINDS = {
    "VectorQuantize": _Kind(
        (builders.vector_quantize, builders.codebook),
        fixed=_CODEBOOK_FIXED,
        without_effect=_CODEBOOK_WITHOUT_EFFECT,
    ),
    "ResidualVQ": _Kind(
        (builders.residual_vq, builders.codebook),
        fixed=_RESIDUAL_FIXED,
        without_effect=_RESIDUAL_WITHOUT_EFFECT,
    ),
    "GroupedResidualVQ": _Kind(
        (builders.grouped_residual_vq, builders.residual_vq, builders.codebook),
        fixed=_RESIDUAL_FIXED,
        without_effect=_RESIDUAL_WITHOUT_EFFECT,
    ),
    "FSQ": _Kind(
        (builders.fsq,),
        fixed={
            "scale": None,
            "projection_has_bias": True,
            "return_indices": True,
            "force_quantization_f32": True,
            "noise_dropout": 0.0,
            "orthogonal_rotation": False,
        },
        without_effect={"allowed_dtypes", "channel_first"},
    ),
    "LFQ": _Kind(
        (builders.lfq,),
        fixed={
            "codebook_scale": 1.0,
            "frac_per_sample_entropy": 1.0,
            "projection_has_bias": True,
            "soft_clamp_input_value": None,
            "cosine_sim_project_in": False,
            "experimental_softplus_entropy_loss": False,
            "force_quantization_f32": True,
            "orthogonal_rotation": False,
        },
        without_effect={"cosine_sim_project_in_scale", "entropy_loss_offset", "channel_first"},
    ),
    "SimVQ": _Kind(
        (builders.sim_vq,),
        fixed={"codebook_transform": None},
        without_effect={"init_fn", "channel_first"},
    ),
    "RandomProjectionQuantizer": _Kind(
        (builders.random_projection_quantizer,),
        fixed={"num_codebooks": 1},
        without_effect={"kmeans_init", "kmeans_iters", "sync_kmeans"},
    ),
}
