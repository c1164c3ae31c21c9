r"""A SEANet codec of speech at 8 kHz: 50 frames a second of 6 codes of 1024, 0.5 kbit/s for each.

    python train.py --config configs/speech_digits.py --config.data.path=RECORDINGS

RECORDINGS is the folder `recordings` of the Free Spoken Digit Dataset: 3,000 recordings of digits
by six speakers, those of the index 0 to 4 held out. In training a random number of codebooks is
used, from 2 on, so that the run serves 1 to 3 kbit/s.

Expected after the 240 epochs, with the moving average of the weights: held-out si_sdr -2.3 dB,
mel_distance 4.19 dB, perplexity 722, 5,596 of 6,144 codes used; an hour on 2 cores.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    sample_rate = 8000
    network = {
        "width": 16,
        "strides": (4, 4, 5, 2),
        "num_residual": 1,
        "num_lstm_layers": 0,
        "pad_mode": "zeros",
        "conv_shortcut": False,
    }
    stage = {
        "kind": "EMAVectorQuantizer",
        "embedding_dim": 64,
        "num_embeddings": 1024,
        "revival_threshold": 0.1,
        "kmeans_init": True,
    }
    return ml_collections.ConfigDict(
        {
            "data": {
                "kind": "AudioFolder",
                "path": "recordings",
                "sample_rate": sample_rate,
                "seconds": 0.32,
                "loudness": -20.0,
                "test_pattern": r"_[0-4]\.wav$",
                "label_pattern": r"(\d)_[^/]*$",
            },
            "model": {
                "encoder": {"kind": "SEANetEncoder", **network},
                "quantizer": {
                    "kind": "ResidualVQ",
                    "quantizers": [stage] * 6,
                    "quantize_dropout": True,
                    "least_depth": 2,
                },
                "decoder": {"kind": "SEANetDecoder", **network},
                "likelihood": {"kind": "SpectralError", "mel_weight": 2.0},
            },
            "training": {
                "batch_size": 64,
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "warmup_steps": 100,
                "num_epochs": 240,
                "average_decay": 0.999,
                "evaluate_every": 10,
                "seed": 0,
            },
            "evaluation": {
                "metrics": [{"kind": "SISDR"}, {"kind": "MelDistance", "sample_rate": sample_rate}]
            },
        }
    )
