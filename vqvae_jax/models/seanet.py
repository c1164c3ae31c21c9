"""SEANet, the convolutional encoder and decoder of SoundStream, EnCodec and Mimi."""

import dataclasses
import math
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import (
    ELU,
    LSTM,
    Chain,
    Conv1d,
    ConvTranspose1d,
    GroupNorm,
    Layer,
    Residual,
    causal,
    centered,
)


class Normalized(Layer):
    """Group normalization, with one group, of what a convolution returns.

    Args:
        conv: the convolution.
        features: its channels.
        cut: positions cut off at the start and at the end, after the normalization.
    """

    def __init__(self, conv: Layer, features: int, cut: tuple[int, int] = (0, 0)):
        self.conv, self.norm = conv, GroupNorm(features, most_groups=1, epsilon=1e-5)
        self.cut = cut

    def __call__(self, x: Float[Array, "b t c_in"]) -> Float[Array, "b t_out c_out"]:
        """Maps [B, T, C_in] to [B, T', C_out]."""
        y, (start, end) = self.norm(self.conv(x)), self.cut
        return y[:, start : y.shape[1] - end]

    def start(self, batch_size: int) -> tuple:
        """Refuses: the normalization is over a whole signal."""
        raise ValueError("a normalization over the whole signal cannot be streamed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """How SEANet makes its convolutions.

    Attributes:
        causal: whether no output depends on later inputs.
        pad_mode: see `Padding`.
        normalize: whether each is a `Normalized` one.
        trim_right: the share of what a causal transposed convolution cuts that it cuts at the end.
    """

    causal: bool
    pad_mode: str
    normalize: bool
    trim_right: float = 1.0

    def conv(
        self,
        before: int,
        after: int,
        size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        rngs: nnx.Rngs,
    ) -> Layer:
        """Returns a convolution that maps T positions to ceil(T / stride)."""
        pad = causal if self.causal else centered
        padding = pad((size - 1) * dilation + 1, stride, self.pad_mode)
        conv = Conv1d(
            before, after, size, stride=stride, dilation=dilation, padding=padding, rngs=rngs
        )
        return Normalized(conv, after) if self.normalize else conv

    def transposed(self, before: int, after: int, stride: int, *, rngs: nnx.Rngs) -> Layer:
        """Returns a transposed convolution that maps T positions to stride T."""
        end = math.ceil(stride * self.trim_right) if self.causal else stride // 2
        cut = (stride - end, end)
        if self.normalize:
            conv = ConvTranspose1d(before, after, 2 * stride, stride=stride, rngs=rngs)
            return Normalized(conv, after, cut)
        return ConvTranspose1d(before, after, 2 * stride, stride=stride, cut=cut, rngs=rngs)

    def residual(
        self,
        features: int,
        *,
        size: int,
        dilation: int,
        compress: int,
        shortcut: bool,
        rngs: nnx.Rngs,
    ) -> Layer:
        """Returns x + Conv 1(ELU(Conv(ELU(x)))), with Conv 1(x) for x if it has a shortcut."""
        hidden = features // compress
        body = [
            ELU(),
            self.conv(features, hidden, size, dilation=dilation, rngs=rngs),
            ELU(),
            self.conv(hidden, features, 1, rngs=rngs),
        ]
        skip = self.conv(features, features, 1, rngs=rngs) if shortcut else None
        return Residual(Chain(body), skip)


class SEANetEncoder(Chain):
    """The encoder of EnCodec (Defossez et al. 2022, arXiv:2210.13438, section 3.1).

    Conv; for each stride residual units, ELU and a strided Conv to twice the channels; LSTM, added
    to its input; ELU and Conv. SoundStream (Zeghidour et al. 2021, arXiv:2107.03312) has three
    residual units with dilations 1, 3, 9, kernels of 7, no LSTM, no conv_shortcut, zeros as
    padding.

    Args:
        in_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of the first layer, at least 1.
        strides: in the order of the encoder; their product is the downsampling.
        num_residual: residual units before each stride, at least 0.
        kernel_size: of the first convolution.
        last_kernel_size: of the last one.
        residual_kernel_size: of the first one in a residual unit.
        dilation_base: the dilation of residual unit j is dilation_base^j.
        compress: the channels inside a residual unit are the others divided by this.
        conv_shortcut: whether a residual unit adds a convolution of its input, not the input.
        num_lstm_layers: at least 0.
        causal: whether no output depends on later inputs. Then signals can be streamed, unless it
            normalizes.
        pad_mode: zeros, reflect or replicate.
        normalize: whether group normalization with one group follows each convolution.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        in_dim: int,
        latent_dim: int,
        *,
        width: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        num_residual: int = 1,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        conv_shortcut: bool = True,
        num_lstm_layers: int = 2,
        causal: bool = True,
        pad_mode: str = "reflect",
        normalize: bool = False,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim, self.width = in_dim, latent_dim, width
        self.strides = check_strides(strides)
        self.kernel_size, self.last_kernel_size = kernel_size, last_kernel_size
        self.num_residual, self.residual_kernel_size = num_residual, residual_kernel_size
        self.dilation_base, self.compress = dilation_base, compress
        self.conv_shortcut, self.num_lstm_layers = conv_shortcut, num_lstm_layers
        self.causal, self.pad_mode, self.normalize = causal, pad_mode, normalize
        _check(self)
        self.downsampling = (math.prod(self.strides),)
        style = Style(causal=causal, pad_mode=pad_mode, normalize=normalize)
        layers = [style.conv(in_dim, width, kernel_size, rngs=rngs)]
        for stride in self.strides:
            layers += _units(self, style, width, rngs)
            layers += [ELU(), style.conv(width, 2 * width, 2 * stride, stride=stride, rngs=rngs)]
            width *= 2
        layers += _memory(num_lstm_layers, width, rngs)
        layers += [ELU(), style.conv(width, latent_dim, last_kernel_size, rngs=rngs)]
        super().__init__(layers)


class SEANetDecoder(Chain):
    """The decoder of EnCodec: the counterpart of `SEANetEncoder`, with the same arguments.

    Conv; LSTM; for each stride, from the last to the first, ELU, a transposed Conv to half of the
    channels and residual units; ELU and Conv.

    Args:
        out_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels before the last layer, at least 1.
        strides: those of the encoder, in its order.
        trim_right: in [0, 1], the share of what a causal transposed convolution cuts that it cuts
            at the end; below 1 the decoder cannot be streamed.
        num_residual, kernel_size, last_kernel_size, residual_kernel_size: as for `SEANetEncoder`.
        dilation_base, compress, conv_shortcut, num_lstm_layers: likewise.
        causal, pad_mode, normalize, rngs: likewise.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        width: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        num_residual: int = 1,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        conv_shortcut: bool = True,
        num_lstm_layers: int = 2,
        causal: bool = True,
        pad_mode: str = "reflect",
        normalize: bool = False,
        trim_right: float = 1.0,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim, self.width = out_dim, latent_dim, width
        self.strides = check_strides(strides)
        self.kernel_size, self.last_kernel_size = kernel_size, last_kernel_size
        self.num_residual, self.residual_kernel_size = num_residual, residual_kernel_size
        self.dilation_base, self.compress = dilation_base, compress
        self.conv_shortcut, self.num_lstm_layers = conv_shortcut, num_lstm_layers
        self.causal, self.pad_mode, self.normalize = causal, pad_mode, normalize
        self.trim_right = trim_right
        _check(self)
        if not 0 <= trim_right <= 1:
            raise ValueError(f"trim_right is {trim_right!r}; it must be from 0 to 1")
        self.downsampling = (math.prod(self.strides),)
        style = Style(causal=causal, pad_mode=pad_mode, normalize=normalize, trim_right=trim_right)
        width *= 2 ** len(self.strides)
        layers = [style.conv(latent_dim, width, kernel_size, rngs=rngs)]
        layers += _memory(num_lstm_layers, width, rngs)
        for stride in reversed(self.strides):
            layers += [ELU(), style.transposed(width, width // 2, stride, rngs=rngs)]
            width //= 2
            layers += _units(self, style, width, rngs)
        layers += [ELU(), style.conv(width, out_dim, last_kernel_size, rngs=rngs)]
        super().__init__(layers)


def check_strides(strides: Sequence[int]) -> tuple[int, ...]:
    """Returns strides as a tuple.

    Raises:
        ValueError: there are none, or one is no integer of at least 1.
    """
    if not isinstance(strides, Sequence) or isinstance(strides, str) or not strides:
        raise ValueError(f"strides is {strides!r}; it must be a list of integers")
    return tuple(check_integer("strides", stride) for stride in strides)


def _check(part: SEANetEncoder | SEANetDecoder) -> None:
    for name in ("latent_dim", "width", "kernel_size", "last_kernel_size", "residual_kernel_size"):
        check_integer(name, getattr(part, name))
    for name, least in (("num_residual", 0), ("num_lstm_layers", 0), ("dilation_base", 1)):
        check_integer(name, getattr(part, name), least)
    for name in ("conv_shortcut", "causal", "normalize"):
        check_flag(name, getattr(part, name))
    if part.num_residual and part.width < check_integer("compress", part.compress):
        raise ValueError(f"compress is {part.compress}; it must be at most width = {part.width}")


def _units(part: SEANetEncoder | SEANetDecoder, style: Style, width: int, rngs: nnx.Rngs) -> list:
    return [
        style.residual(
            width,
            size=part.residual_kernel_size,
            dilation=part.dilation_base**index,
            compress=part.compress,
            shortcut=part.conv_shortcut,
            rngs=rngs,
        )
        for index in range(part.num_residual)
    ]


def _memory(number: int, width: int, rngs: nnx.Rngs) -> list[Layer]:
    """Returns the LSTM layers, added to their input; nothing for 0 layers."""
    if number == 0:
        return []
    return [Residual(Chain([LSTM(width, rngs=rngs) for _ in range(number)]))]
