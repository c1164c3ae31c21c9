"""Tokenizers of signals of any length, whole or piece by piece."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.leaves import Leaf
from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.models.tokenizer import Tokenizer, TokenizerOutput
from vqvae_jax.precision import compute_in, converted, wide
from vqvae_jax.quantizers import Quantizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StreamState:
    """The state of the encoder or the decoder between two pieces.

    Attributes:
        context: of its layers.
        first: whether there was no piece yet.
    """

    context: Leaf
    first: Leaf


class AudioTokenizer(Tokenizer):
    """A tokenizer of signals [B, T, C] of any length T.

    The last frame of codes may stand for fewer samples than the others. Codes do not tell: keep T
    beside them, and give it to `decode`.

    Args:
        encoder: maps any [B, T, C] to [B, ceil(T / downsampling), D], or those whose length is a
            `multiple`.
        quantizer, decoder, likelihood: as for `Tokenizer`.
        sample_rate: samples per second, at least 1.
        multiple: zeros are appended to signals up to a multiple of this, at least 1.
        dtype: as for `Tokenizer`.
        value_range: likewise.

    Raises:
        ValueError: the parts do not fit each other, or an argument is out of its range.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        quantizer: Quantizer,
        decoder: nnx.Module,
        likelihood: Likelihood,
        *,
        sample_rate: int,
        multiple: int = 1,
        dtype: DTypeLike | None = None,
        value_range: tuple[float, float] = (-1.0, 1.0),
    ):
        self.sample_rate = check_integer("sample_rate", sample_rate)
        self.multiple = check_integer("multiple", multiple)
        super().__init__(
            encoder, quantizer, decoder, likelihood, dtype=dtype, value_range=value_range
        )
        if self.spatial_rank != 1:
            raise ValueError(f"the encoder has spatial_rank {self.spatial_rank}; it must be 1")

    def __call__(
        self,
        x: Float[Array, "b t c"],
        mask: Bool[Array, "b t_latent"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> TokenizerOutput:
        """See `Tokenizer`; the reconstruction has the length of x, or less by a shortfall."""
        output = super().__call__(x, mask, key=key)
        return dataclasses.replace(output, reconstruction=output.reconstruction[:, : x.shape[1]])

    def decode(
        self,
        codes: Int[Array, " b *codes"],
        *,
        length: int | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "b t c"]:
        """Returns the signals [B, T, C] of codes.

        Args:
            codes: as `encode` returns them; with several codebooks [..., :m] is enough.
            length: T; None: all samples of the last frame. A decoder with a `shortfall`, as DAC's
                has, may give fewer.
            key: see `Tokenizer.decode`.
        """
        return super().decode(codes, key=key)[:, :length]

    def latents(self, x: Float[Array, "b t c"]) -> Float[Array, "b t_latent d"]:
        """Returns the encoder's output [B, T', D] for signals [B, T, C], T at least 1.

        Raises:
            ValueError: x has the wrong shape or type.
        """
        self._check_signals(x)
        filled = jnp.pad(x, ((0, 0), (0, -x.shape[1] % self.multiple), (0, 0)))
        return compute_in(self.dtype, self.encoder, filled)

    def reconstruction_loss(
        self,
        reconstruction: Float[Array, "b t_out f"],
        x: Float[Array, "b t c"],
        mask: Bool[Array, "b t_latent"] | None = None,
    ) -> Float[Array, ""]:
        """See `Tokenizer.reconstruction_loss`; only samples that both have count."""
        length = min(reconstruction.shape[1], x.shape[1])
        if mask is not None:
            mask = mask.repeat(self.downsampling[0], axis=1)[:, :length]
        return self.likelihood.loss(reconstruction[:, :length], x[:, :length], mask)

    def start_encoding(self, batch_size: int) -> StreamState:
        """Returns the state with which `encode_piece` encodes the first piece of signals.

        Raises:
            ValueError: the encoder is not causal.
        """
        return self._start("encoder", batch_size)

    def encode_piece(
        self, x: Float[Array, "b t c"], state: StreamState
    ) -> tuple[Int[Array, " b *codes"], StreamState]:
        """Returns the codes of the next piece of signals, and the state for the one after it.

        The codes of all pieces together are those of the whole.

        Args:
            x: [B, T, C], T a multiple of the downsampling, the same under one `jax.jit`; what is
                left of a signal at its end is filled up with zeros.
            state: that of `start_encoding`, or of the last piece.

        Raises:
            ValueError: x has the wrong shape or type, or is too short for values to be mirrored.
        """
        self._check_signals(x)
        if x.shape[1] < 1 or x.shape[1] % self.downsampling[0]:
            raise ValueError(
                f"x has shape {x.shape}; its length must be a multiple of {self.downsampling[0]}"
            )
        z, context = compute_in(
            self.dtype, self.encoder, x, state.context, state.first, method="step"
        )
        return self.quantizer.encode(z), StreamState(context, jnp.zeros((), bool))

    def start_decoding(self, batch_size: int) -> StreamState:
        """Returns the state with which `decode_piece` decodes the first piece of codes.

        Raises:
            ValueError: the decoder is not causal.
        """
        return self._start("decoder", batch_size)

    def decode_piece(
        self, codes: Int[Array, " b *codes"], state: StreamState, *, key: jax.Array | None = None
    ) -> tuple[Float[Array, "b t c"], StreamState]:
        """Returns the signals of the next piece of codes, and the state for the one after it.

        Args:
            codes: as for `decode`, of any number of frames, the same under one `jax.jit`.
            state: that of `start_decoding`, or of the last piece.
            key: see `Tokenizer.decode`.

        Raises:
            ValueError: the piece is too short for values to be mirrored.
        """
        decoded, state = self.decoded_piece(codes, state)
        return self.likelihood.decode(decoded, key), state

    def decoded_piece(
        self, codes: Int[Array, " b *codes"], state: StreamState
    ) -> tuple[Float[Array, "b t f"], StreamState]:
        """Returns the decoder's output for the next piece of codes, as `decode_piece` takes it."""
        values = self.quantizer.lookup(codes)
        decoded, context = compute_in(
            self.dtype, self.decoder, values, state.context, state.first, method="step"
        )
        return wide(decoded), StreamState(context, jnp.zeros((), bool))

    def _check_signals(self, x: Float[Array, "b t c"]) -> None:
        channels = self.likelihood.out_dim
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"x has type {x.dtype}; it must be floating")
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != channels:
            raise ValueError(
                f"x has shape {x.shape}; it must be [B, T, {channels}], with T at least 1"
            )

    def _start(self, name: str, batch_size: int) -> StreamState:
        part: Any = getattr(self, name)
        if not hasattr(part, "start"):
            raise ValueError(f"the {name} is a {type(part).__name__}; it cannot be streamed")
        context = part.start(batch_size)
        if self.dtype is not None:
            context = converted(context, self.dtype)
        return StreamState(context, jnp.ones((), bool))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SegmentCodes:
    """Codes of signals that were encoded in overlapping segments.

    Attributes:
        segments: int32 [B, frames, num_codebooks] of each; the last one may be shorter.
        scales: what each segment was divided by, [B, 1].
        length: T, samples of the signals.
    """

    segments: tuple[Leaf, ...]
    scales: tuple[Leaf, ...]
    length: int = dataclasses.field(metadata={"static": True})


class SegmentedTokenizer(AudioTokenizer):
    """Encodes signals in overlapping segments, each at its own loudness, as EnCodec does at 48 kHz.

    A segment is divided by 1e-8 + sqrt(mean(m^2)), m the mean of its channels. Decoded segments are
    added with triangular weights, and the sum is divided by that of the weights. A call, as in
    training, takes signals as they are: train on segments at the loudness that `scaled` gives.

    Args:
        encoder, quantizer, decoder, likelihood, options: as for `AudioTokenizer`.
        segment_length: samples of a segment, at least 1; None: signals are one segment.
        segment_stride: from the start of a segment to that of the next, from 1 to segment_length;
            None if that is.
        normalize: whether segments are divided by their loudness.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        quantizer: Quantizer,
        decoder: nnx.Module,
        likelihood: Likelihood,
        *,
        segment_length: int | None = None,
        segment_stride: int | None = None,
        normalize: bool = True,
        **options: Any,
    ):
        super().__init__(encoder, quantizer, decoder, likelihood, **options)
        if (segment_length is None) != (segment_stride is None):
            raise ValueError(
                f"segment_length is {segment_length} and segment_stride {segment_stride}; both "
                "must be given, or neither"
            )
        if segment_length is not None and segment_stride is not None:
            check_integer("segment_length", segment_length)
            check_integer("segment_stride", segment_stride, high=segment_length)
        self.segment_length, self.segment_stride = segment_length, segment_stride
        self.normalize = normalize

    def encode(  # type: ignore[override]  # its codes are of another type
        self, x: Float[Array, "b t c"], mask: Bool[Array, "b t_latent"] | None = None
    ) -> SegmentCodes:
        """Returns the codes of signals [B, T, C]; masks are not supported."""
        if mask is not None:
            raise ValueError("mask is given; signals encoded in segments cannot have one")
        length = x.shape[1]
        size, stride = self.segment_length or length, self.segment_stride or length
        segments, scales = [], []
        for start in range(0, length, max(1, stride)):
            segment, scale = self.scaled(x[:, start : start + size])
            segments.append(super().encode(segment))
            scales.append(scale)
        return SegmentCodes(tuple(segments), tuple(scales), length)

    def _start(self, name: str, batch_size: int) -> StreamState:
        raise ValueError("signals are encoded in segments; they cannot be streamed")

    def scaled(
        self, segment: Float[Array, "b t c"]
    ) -> tuple[Float[Array, "b t c"], Float[Array, "b 1"]]:
        """Returns a segment divided by its scale, and the scale; 1 without normalization."""
        if not self.normalize:
            return segment, jnp.ones((len(segment), 1), segment.dtype)
        mono = jnp.mean(segment, axis=2)
        scale = 1e-8 + jnp.sqrt(jnp.mean(mono**2, axis=1, keepdims=True))
        return segment / scale[..., None], scale

    def decode(  # type: ignore[override]
        self, codes: SegmentCodes, *, key: jax.Array | None = None
    ) -> Float[Array, "b t c"]:
        """Returns the signals [B, T, C] of codes, or of their first codebooks."""
        parts = [
            super(SegmentedTokenizer, self).decode(segment, key=key) * scale[..., None]
            for segment, scale in zip(codes.segments, codes.scales, strict=True)
        ]
        if len(parts) == 1:
            return parts[0][:, : codes.length]
        stride = self.segment_stride or 0
        size = parts[0].shape[1]
        places = jnp.linspace(0, 1, size + 2)[1:-1]
        weights = (0.5 - jnp.abs(places - 0.5))[:, None]
        total = jnp.zeros((len(parts[0]), stride * (len(parts) - 1) + size, parts[0].shape[2]))
        sums = jnp.zeros((total.shape[1], 1))
        for index, part in enumerate(parts):
            at = slice(index * stride, index * stride + part.shape[1])
            own = weights[: part.shape[1]]
            total, sums = total.at[:, at].add(own[None] * part), sums.at[at].add(own)
        return total[:, : codes.length] / sums[None, : codes.length]
