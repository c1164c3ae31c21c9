"""The two directions of an entropy coder behind one call, so that one walk serves both."""

from typing import Protocol, runtime_checkable

import numpy as np

from vqvae_jax.extras import extra

with extra("codec"):
    import constriction

# The tables of one call hold at most this many numbers.
_MAX_NUMBERS = 2**22

_model = constriction.stream.model.Categorical(perfect=False)


@runtime_checkable
class Stream(Protocol):
    """Encodes symbols into words, or decodes them."""

    def code(self, probabilities: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """Encodes or decodes symbols.

        Args:
            probabilities: float32 [M, K], the distribution of each symbol.
            symbols: int32 [M] in [0, K), to be written; ignored when symbols are read.

        Returns:
            The symbols int32 [M].
        """


class OutOfStepError(ValueError):
    """The words were written with other probabilities than they are read with."""


class Writer:
    """Writes symbols."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, probabilities: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """See `Stream.code`."""
        assert symbols is not None
        for part in _parts(probabilities):
            self._coder.encode(symbols[part], _model, _table(probabilities[part]))
        return symbols

    def words(self) -> np.ndarray:
        """Returns all that was written: uint32."""
        return self._coder.get_compressed()


class Reader:
    """Reads the symbols that a `Writer` wrote, in order, from its words."""

    def __init__(self, words: np.ndarray):
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def code(self, probabilities: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """See `Stream.code`.

        Raises:
            OutOfStepError: no symbol has such words. Not every wrong word is detected.
        """
        read = [np.zeros(len(probabilities) if probabilities.shape[1] == 1 else 0, np.int32)]
        try:
            for part in _parts(probabilities):
                read.append(self._coder.decode(_model, _table(probabilities[part])))
        except AssertionError as error:  # what constriction raises
            raise OutOfStepError(str(error)) from error
        return np.concatenate(read)


def _table(probabilities: np.ndarray) -> np.ndarray:
    """Converts to float64, in which rounding cannot make the coder's sums exceed the total."""
    return probabilities.astype(np.float64)


def _parts(probabilities: np.ndarray) -> list[slice]:
    count, size = probabilities.shape
    if size == 1:  # nothing to code
        return []
    step = max(1, _MAX_NUMBERS // size)
    return [slice(start, start + step) for start in range(0, count, step)]
