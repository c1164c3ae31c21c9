"""diffusers and transformers of pretrained_folders.py: write their folder, or read ours."""

import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
from make_pretrained import KINDS, drawn_model, outputs

folder, step, *families = sys.argv[1:]
for family in families:
    kind, where = KINDS[family], Path(folder, family)
    if step == "theirs":
        drawn_model(kind).save_pretrained(where / step)
    package = diffusers if kind.model == "VQModel" else transformers
    model = getattr(package, kind.model).from_pretrained(where / step).eval()
    x = np.random.RandomState(0).uniform(-1, 1, kind.input).astype(np.float32)
    arrays, _ = outputs(model, torch.from_numpy(x))
    np.savez(where / f"{step}.npz", **{name: array.numpy() for name, array in arrays.items()})
