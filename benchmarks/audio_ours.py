"""Ours of audio.py, as a worker."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from vqvae_jax.training.process import use_all_cores

use_all_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402
from workers import answer_all  # noqa: E402

import vqvae_jax  # noqa: E402

FOLDER = Path(sys.argv[1])
FRAMES = 8  # of a piece of a stream


class Model:
    def load(self) -> None:
        state = vqvae_jax.load_state_dict(FOLDER / "model.safetensors")
        config = json.loads((FOLDER / "config.json").read_text())
        self.model = vqvae_jax.from_state_dict("encodec_hf", state, config)
        graphdef, self.state = nnx.split(self.model)

        def compiled(name: str) -> Any:
            return jax.jit(lambda state, *given: getattr(nnx.merge(graphdef, state), name)(*given))

        self.encoded, self.decoded = compiled("encode"), compiled("decode")
        self.encoded_piece, self.decoded_piece = compiled("encode_piece"), compiled("decode_piece")

    def warm(self) -> None:
        self.audio = np.load(FOLDER / "audio.npy")
        with np.load(FOLDER / "PyTorch.npz") as theirs:
            self.codes = theirs["codes"]
        codes, audio = self.encode(), self.decode()
        streamed, pieces = self.encode_pieces(), self.decode_pieces()
        np.savez(FOLDER / "ours.npz", codes=codes, audio=audio, streamed=streamed, pieces=pieces)

    def encode(self) -> jax.Array:
        return self.encoded(self.state, self.audio).block_until_ready()

    def decode(self) -> jax.Array:
        return self.decoded(self.state, self.codes).block_until_ready()

    def encode_pieces(self) -> np.ndarray:
        size = FRAMES * self.model.downsampling[0]
        return self._streamed(self.encoded_piece, self.model.start_encoding(1), self.audio, size)

    def decode_pieces(self) -> np.ndarray:
        return self._streamed(self.decoded_piece, self.model.start_decoding(1), self.codes, FRAMES)

    def _streamed(self, step: Any, state: Any, whole: np.ndarray, size: int) -> np.ndarray:
        """The results of pieces of this size, one after the other; a rest is left out."""
        pieces = []
        for start in range(0, whole.shape[1] - size + 1, size):
            piece, state = step(self.state, whole[:, start : start + size], state)
            pieces.append(np.asarray(piece))
        return np.concatenate(pieces, axis=1)


model = Model()


def answer(what: str) -> dict[str, Any]:
    start = time.perf_counter()
    getattr(model, what)()
    seconds = time.perf_counter() - start
    if what == "load":
        model.warm()
    return {"seconds": seconds}


answer_all(answer)
