"""Makes tests/golden/pretrained: what diffusers and transformers compute with small models.

    python tests/golden/make_pretrained.py [family ...]

needs PyTorch, diffusers, transformers and safetensors, which the tests do not. The weights are not
stored: both sides draw them with `pretrained_weights.drawn_weights(shapes, seed)`, whose docstring
says exactly how, from the names and shapes of the model's state dict. The input is the next thing
that a RandomState(seed + 1) draws: uniform(-1, 1) of its shape.

Each <family>.safetensors has, in PyTorch's order of axes and float32 (indices int32): `input`;
`latents`, what the quantizer is given; `indices`; `quantized`, the codes; `reconstruction`, decoded
from the indices; and where the quantizer has a loss, `loss.total`, and `grad.latents` and
`grad.codebook`, the gradients of sum(quantized * cotangent) + loss.total, quantizer in training,
with `cotangent`, drawn after the input with randn. Emu3's has the same again for a video, as
`video.input` and so on, with channels before time, [B, C, T, H, W].

Each <family>.json has `reference`, the class; `narrow_config`; `seed`; `argmin_margin`, the
smallest difference between the distances of a vector to its two nearest codes, relative to the
nearest; `versions`; `released`, the configs of public models with their number of weights; and
`released_names`, names and shapes of the entries of the one that `released_names_are_of`.
"""

import dataclasses
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from pretrained_weights import drawn_weights
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent / "pretrained"
PACKAGES = ("torch", "diffusers", "transformers")


def vqmodel(channels, attends, layers, latents, codes, **others):
    """The config of a diffusers.VQModel whose lowest resolution has attention, or not."""
    last = len(channels) - 1
    down = ["DownEncoderBlock2D"] * last + ["Attn" * attends + "DownEncoderBlock2D"]
    up = ["Attn" * attends + "UpDecoderBlock2D"] + ["UpDecoderBlock2D"] * last
    return {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "act_fn": "silu",
        "latent_channels": latents,
        "num_vq_embeddings": codes,
        "norm_num_groups": 32,
        "vq_embed_dim": latents,
        **others,
    }


@dataclasses.dataclass(frozen=True)
class Kind:
    """A family.

    Attributes:
        model: the class, of diffusers if it is VQModel, else of transformers.
        narrow: the config of the small model.
        input: the shape of the input.
        released: configs of public models by name; the first's names are listed.
        seed: of the weights.
    """

    model: str
    narrow: dict[str, Any]
    input: tuple[int, ...]
    released: dict[str, dict[str, Any]]
    seed: int = 0

    def build(self, config):
        if self.model == "VQModel":
            return diffusers.VQModel(**config)
        settings = getattr(transformers, f"{self.model}Config")(**config)
        return getattr(transformers, self.model)(settings)


_CHANNELS = {"in_channels": 3, "double_latent": False}
_EMU3 = {**_CHANNELS, "out_channels": 3, "embed_dim": 4, "latent_channels": 4}
KINDS = {
    "diffusers_vqmodel": Kind(
        "VQModel",
        vqmodel([64, 32, 32], False, 1, 3, 64),
        (1, 3, 24, 32),
        {
            "CompVis/ldm-celebahq-256 (vqvae/)": vqmodel([128, 256, 512], False, 2, 3, 8192),
            "amused/amused-256 (vqvae/)": vqmodel(
                [128, 256, 256, 512, 768], False, 2, 64, 8192,
                mid_block_add_attention=False, lookup_from_codebook=True,
            ),
        },
    ),
    "diffusers_movq": Kind(
        "VQModel",
        vqmodel([32, 64, 32], True, 1, 4, 64, norm_type="spatial"),
        (1, 3, 24, 32),
        {
            "kandinsky-community/kandinsky-2-2-decoder (movq/)": vqmodel(
                [128, 256, 256, 512], True, 2, 4, 16384, norm_type="spatial"
            )
        },
    ),
    "chameleon_vqvae": Kind(
        "ChameleonVQVAE",
        {
            **_CHANNELS, "embed_dim": 16, "num_embeddings": 64, "latent_channels": 24,
            "resolution": 32, "base_channels": 32, "channel_multiplier": [2, 1, 1],
            "num_res_blocks": 1, "attn_resolutions": [16],
        },
        (1, 3, 24, 32),
        {
            "facebook/chameleon-7b (model.vqmodel.*)": {
                **_CHANNELS, "embed_dim": 256, "num_embeddings": 8192, "latent_channels": 256,
                "resolution": 512, "base_channels": 128, "channel_multiplier": [1, 1, 2, 2, 4],
                "num_res_blocks": 2, "attn_resolutions": None,
            }
        },
    ),
    "janus_vqvae": Kind(
        "JanusVQVAE",
        {
            **_CHANNELS, "out_channels": 3, "embed_dim": 8, "num_embeddings": 64,
            "latent_channels": 24, "base_channels": 32, "channel_multiplier": [2, 1, 1],
            "num_res_blocks": 1, "num_patches": 6,
        },
        (1, 3, 24, 24),
        {
            "deepseek-community/Janus-Pro-1B (model.vqmodel.*)": {
                **_CHANNELS, "out_channels": 3, "embed_dim": 8, "num_embeddings": 16384,
                "latent_channels": 256, "base_channels": 128,
                "channel_multiplier": [1, 1, 2, 2, 4], "num_res_blocks": 2, "num_patches": 24,
            }
        },
        seed=8,
    ),
    "emu3_vqvae": Kind(
        "Emu3VQVAE",
        {
            **_EMU3, "codebook_size": 2048, "temporal_downsample_factor": 4, "base_channels": 32,
            "channel_multiplier": [2, 1], "num_res_blocks": 1, "attn_resolutions": [1],
            "hidden_size": 32,
        },
        (1, 3, 16, 24),
        {
            "BAAI/Emu3-VisionTokenizer; Emu3-community/Emu3-Gen-hf (model.vqmodel.*)": {
                **_EMU3, "codebook_size": 32768, "temporal_downsample_factor": 4,
                "base_channels": 256, "channel_multiplier": [1, 2, 2, 4], "num_res_blocks": 2,
                "attn_resolutions": [3], "hidden_size": 1024,
            }
        },
        seed=9,
    ),
}  # fmt: skip


def shapes_of(module):
    return {name: tuple(array.shape) for name, array in module.state_dict().items()}


def drawn_model(kind):
    """The small model of a family, with the weights that both sides draw."""
    model = kind.build(kind.narrow).eval()
    weights = drawn_weights(shapes_of(model), kind.seed)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model


def encoded(model, x):
    """Returns what the quantizer is given for inputs, its codes' indices, and its output."""
    seen = []
    hook = model.quantize.register_forward_hook(
        lambda module, given, made: seen.append((given, made))
    )
    with torch.no_grad():
        if isinstance(model, diffusers.VQModel):
            model.quantize(model.encode(x).latents)
        elif isinstance(model, transformers.Emu3VQVAE):
            model.encode(x, image_sizes=[x.shape[-2:]] * len(x))
        else:
            model.encode(x)
    hook.remove()
    ((latents,), made) = seen[0]
    indices = made
    if isinstance(made, tuple):
        indices = made[2][-1] if isinstance(made[2], tuple) else made[2]
    return latents, indices


def decoded(model, indices, latents):
    """Decodes indices [B, h, w], or of a video [B, t, h, w]."""
    with torch.no_grad():
        if isinstance(model, diffusers.VQModel):
            size = (*indices.shape, latents.shape[1])
            codes = model.quantize.get_codebook_entry(indices.reshape(-1), size)
            return model.decode(codes, force_not_quantize=True).sample
        if isinstance(model, transformers.JanusVQVAE):
            return model.decode(indices.reshape(len(indices), -1))
        return model.decode(indices)


def outputs(model, x):
    """Returns the arrays of an input by name, and the smallest margin."""
    latents, indices = encoded(model, x)
    if latents.ndim == 5:  # [B, t, C, h, w] of Emu3
        latents = latents.movedim(2, 1)
        if x.ndim == 4:
            latents = latents[:, :, 0]
    vectors = latents.movedim(1, -1)
    codes = model.quantize.embedding.weight.detach()
    indices = indices.reshape(vectors.shape[:-1])
    distances = torch.cdist(vectors.reshape(-1, vectors.shape[-1]).double(), codes.double())
    nearest = distances.topk(2, largest=False)
    assert torch.equal(nearest.indices[:, 0], indices.reshape(-1))
    first, second = nearest.values.T
    arrays = {"input": x, "latents": latents, "indices": indices}
    arrays["quantized"] = codes[indices].movedim(-1, 1)
    if hasattr(model, "decoder"):
        arrays["reconstruction"] = decoded(model, indices, latents)
    if x.ndim == 5:  # channels before time here too
        arrays |= {name: arrays[name].movedim(2, 1) for name in ("input", "reconstruction")}
    return arrays, float(((second - first) / first).min())


def gradients(model, latents, cotangent):
    """Returns the quantizer's loss and gradients by name."""
    latents, codes = latents.clone().requires_grad_(), model.quantize.embedding.weight
    model.quantize.train()
    values, loss, *_ = model.quantize(latents)
    of = torch.autograd.grad((values * cotangent).sum() + loss, (latents, codes))
    return {
        "cotangent": cotangent,
        "loss.total": loss,
        "grad.latents": of[0],
        "grad.codebook": of[1],
    }


def make(family):
    kind = KINDS[family]
    model = drawn_model(kind)
    random = np.random.RandomState(kind.seed + 1)

    def uniform(shape):
        return torch.from_numpy(random.uniform(-1, 1, shape).astype(np.float32))

    x = uniform(kind.input)
    arrays, margin = outputs(model, x)
    if family == "emu3_vqvae":
        of_video, margin_of_video = outputs(model, uniform((1, 8, 3, 8, 12)))
        arrays |= {f"video.{name}": array for name, array in of_video.items()}
        margin = min(margin, margin_of_video)
    else:
        latents = arrays["latents"]
        cotangent = torch.from_numpy(random.randn(*latents.shape).astype(np.float32))
        arrays |= gradients(model, latents, cotangent)
    stored = {name: array.detach().contiguous().numpy() for name, array in arrays.items()}
    stored = {n: a.astype(np.int32) if n.endswith("indices") else a for n, a in stored.items()}
    FOLDER.mkdir(exist_ok=True)
    save_file(stored, FOLDER / f"{family}.safetensors")
    released, names = [], []
    for name, config in kind.released.items():
        with torch.device("meta"):
            full = shapes_of(kind.build(config))
        names = names or [[entry, shape] for entry, shape in full.items()]
        parameters = sum(int(np.prod(shape)) for shape in full.values())
        released.append({"name": name, "config": config, "parameters": parameters})
    package = "diffusers" if kind.model == "VQModel" else "transformers"
    described = {
        "family": family,
        "reference": {"repository": f"huggingface/{package}", "cls": f"{package}.{kind.model}"},
        "narrow_config": kind.narrow,
        "seed": kind.seed,
        "argmin_margin": margin,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "released": released,
        "released_names_are_of": released[0]["name"],
        "released_names": names,
    }
    (FOLDER / f"{family}.json").write_text(lines_of(described))
    used = len(np.unique(stored["indices"]))
    print(f"{family}: {used} codes of {stored['indices'].size} tokens, margin {margin:.1e}")


def lines_of(described):
    """Returns JSON with one line for each setting and each item of a list."""
    lines = []
    for name, value in described.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    for chosen in sys.argv[1:] or KINDS:
        make(chosen)
