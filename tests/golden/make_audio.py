"""Writes audio.npz: what the original audio codecs make of the cases in audio_cases.py.

    pip install torch encodec==0.1.1 transformers==5.24.0 snac==1.2.1 einops
    pip install --no-deps descript-audio-codec==1.0.0 moshi==0.2.13
    python tests/golden/make_audio.py

Packages that the codecs import and their networks do not need are left out.
"""

import sys
from pathlib import Path
from unittest import mock

import audio_cases
import numpy as np
import torch
import transformers
from torch import nn

_ = transformers.EncodecModel, transformers.DacModel, transformers.MimiModel  # loaded on use
for name in ("torchaudio", "argbind", "sentencepiece", "sphn"):
    sys.modules.setdefault(name, mock.MagicMock())


class Base(nn.Module):
    """What the Descript audio codec derives from."""

    INTERN, EXTERN = [], []


audiotools = mock.MagicMock(__path__=[])
audiotools.ml = mock.MagicMock(BaseModel=Base)
sys.modules.setdefault("audiotools", audiotools)
sys.modules.setdefault("audiotools.ml", audiotools.ml)

import encodec  # noqa: E402
import snac  # noqa: E402
from encodec.modules import SEANetDecoder, SEANetEncoder  # noqa: E402


def encodec_model(config):
    network = {
        "channels": config["channels"], "dimension": config["dimension"],
        "n_filters": config["n_filters"], "ratios": config["ratios"], "norm": config["norm"],
        "causal": config["causal"],
    }  # fmt: skip
    return encodec.EncodecModel(
        SEANetEncoder(**network),
        SEANetDecoder(**network),
        encodec.quantization.ResidualVectorQuantizer(
            dimension=config["dimension"], n_q=config["n_q"], bins=config["bins"]
        ),
        config["target_bandwidths"],
        config["sample_rate"],
        config["channels"],
        normalize=config["normalize"],
        segment=config["segment"],
    )


def mimi_model(config):
    from moshi.models import compression, loaders
    from moshi.modules import SEANetDecoder, SEANetEncoder, transformer
    from moshi.quantization import SplitResidualVectorQuantizer

    network = dict(loaders._seanet_kwargs) | {
        "dimension": config["dimension"], "n_filters": config["n_filters"],
        "ratios": config["ratios"],
    }  # fmt: skip
    block = dict(loaders._transformer_kwargs) | {
        "d_model": config["dimension"], "num_heads": config["num_heads"],
        "num_layers": config["num_layers"], "context": config["context"],
        "dim_feedforward": config["dim_feedforward"], "input_dimension": config["dimension"],
        "output_dimensions": [config["dimension"]],
    }  # fmt: skip
    quantizer = dict(loaders._quantizer_kwargs) | {
        "dimension": config["q_dimension"], "n_q": config["n_q"], "bins": config["bins"],
        "input_dimension": config["dimension"], "output_dimension": config["dimension"],
    }  # fmt: skip
    encoder, decoder = SEANetEncoder(**network), SEANetDecoder(**network)
    return compression.MimiModel(
        encoder,
        decoder,
        SplitResidualVectorQuantizer(**quantizer),
        channels=1,
        sample_rate=config["sample_rate"],
        frame_rate=config["frame_rate"],
        encoder_frame_rate=config["sample_rate"] / encoder.hop_length,
        causal=True,
        resample_method="conv",
        encoder_transformer=transformer.ProjectedTransformer(**block),
        decoder_transformer=transformer.ProjectedTransformer(**block),
    )


def mimi_name(name):
    """The released name: attention's projections are of one matrix."""
    name = name.replace("in_projs.0.weight", "in_proj_weight")
    return name.replace("out_projs.0.weight", "out_proj.weight")


def hf_mimi_name(name):
    """The released name: without the halves of the present class."""
    for now, then in (
        ("encoder.encoder_transformer", "encoder_transformer"),
        ("decoder.decoder_transformer", "decoder_transformer"),
        ("encoder.encoder_seanet", "encoder"),
        ("decoder.decoder_seanet", "decoder"),
        ("encoder.seanet", "encoder"),
        ("decoder.seanet", "decoder"),
        ("encoder.downsample", "downsample"),
        ("decoder.upsample", "upsample"),
    ):
        name = name.replace(now, then) if name.startswith(now) else name
    return name


def filled(model, renamed=lambda name: name):
    """The model with the weights of its case, and their names and shapes."""
    state = model.state_dict()
    shapes = {renamed(name): tuple(array.shape) for name, array in state.items()}
    drawn = audio_cases.weights(shapes)
    kept = {
        name: array if name.endswith("inv_freq") else torch.tensor(drawn[renamed(name)])
        for name, array in state.items()
    }
    model.load_state_dict(kept)
    return model.eval(), shapes


def outputs(name):
    """The arrays of one case, and those that tell its names and shapes."""
    config, x = audio_cases.CONFIGS[name], torch.tensor(audio_cases.signal(name))
    family = audio_cases.family_of(name)
    if family == "encodec":
        model, shapes = filled(encodec_model(config))
        model.set_target_bandwidth(config["target_bandwidths"][-1])
        frames = model.encode(x)
        arrays = {f"codes.{i}": codes for i, (codes, _) in enumerate(frames)}
        arrays |= {f"scale.{i}": s for i, (_, s) in enumerate(frames) if s is not None}
        arrays["audio"] = model.decode(frames)
        if config["segment"] is not None:
            arrays["audio"] = arrays["audio"][..., : x.shape[-1]]
    elif family == "encodec_hf":
        model, shapes = filled(transformers.EncodecModel(transformers.EncodecConfig(**config)))
        bandwidth = config["target_bandwidths"][-1]
        codes, scales, _ = model.encode(x, bandwidth=bandwidth, return_dict=False)
        arrays = {"codes.0": codes[0], "audio": model.decode(codes, scales, return_dict=False)[0]}
    elif family == "dac":
        from dac.model.dac import DAC

        model, shapes = filled(DAC(**config))
        padded = model.preprocess(x, config["sample_rate"])
        z, codes, *_ = model.encode(padded)
        arrays = {"codes.0": codes, "audio": model.decode(z)}
    elif family == "dac_hf":
        model, shapes = filled(transformers.DacModel(transformers.DacConfig(**config)))
        encoded = model.encode(x)
        audio = model.decode(encoded.quantized_representation).audio_values
        arrays = {"codes.0": encoded.audio_codes, "audio": audio[:, None]}
    elif family == "mimi":
        model, shapes = filled(mimi_model(config), mimi_name)
        codes = model.encode(x)
        arrays = {"codes.0": codes, "audio": model.decode(codes)}
    elif family == "mimi_hf":
        config = transformers.MimiConfig(**config)
        model, shapes = filled(transformers.MimiModel(config), hf_mimi_name)
        codes = model.encode(x).audio_codes
        arrays = {"codes.0": codes, "audio": model.decode(codes).audio_values}
    else:
        model, shapes = filled(snac.SNAC(**config))
        noises, draw = [], torch.randn

        def recorded(*arguments, **options):
            noises.append(draw(*arguments, **options))
            return noises[-1]

        with mock.patch("torch.randn", recorded):
            audio, codes = model(x)
        arrays = {f"codes.{i}": level for i, level in enumerate(codes)} | {"audio": audio}
        arrays |= {f"noise.{i}": noise for i, noise in enumerate(noises)}
    arrays = {key: array.numpy() for key, array in arrays.items()}
    for key, array in arrays.items():
        narrow = np.int8 if key.startswith("codes") else np.float32
        arrays[key] = array.astype(narrow)
    return arrays | {"names": np.asarray(audio_cases.digest(shapes), np.uint32)}


if __name__ == "__main__":
    torch.manual_seed(0)
    saved = {}
    with torch.no_grad():
        for name in sys.argv[1:] or audio_cases.CONFIGS:
            for key, array in outputs(name).items():
                saved[f"{name}/{key}"] = array
            print(name, {k: v.shape for k, v in saved.items() if k.startswith(name + "/")})
    if not sys.argv[1:]:
        np.savez_compressed(Path(__file__).parent / "audio.npz", **saved)
