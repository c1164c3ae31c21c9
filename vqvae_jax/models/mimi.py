"""The encoder and the decoder of Mimi: SEANet, a transformer, and a lower rate."""

from typing import cast

from flax import nnx

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import Chain, Conv1d, ConvTranspose1d, SlidingBlock, causal
from vqvae_jax.models.seanet import SEANetDecoder, SEANetEncoder


class MimiEncoder(Chain):
    """The encoder of Mimi (Defossez et al. 2024, Moshi, arXiv:2410.00037, section 3.3).

    SEANet, blocks of `SlidingBlock`, and a strided convolution that repeats the first value at the
    start. It can be streamed if SEANet can.

    Args:
        seanet: the first part.
        num_layers: blocks, at least 0.
        num_heads: see `SlidingBlock`, as for all up to epsilon.
        context: its positions are those before the last stride.
        hidden: likewise.
        head_dim: likewise.
        rotary_base: likewise.
        epsilon: likewise.
        stride: of the last convolution, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        seanet: SEANetEncoder,
        *,
        num_layers: int = 8,
        num_heads: int = 8,
        context: int = 250,
        hidden: int = 2048,
        head_dim: int | None = None,
        rotary_base: float = 10_000.0,
        epsilon: float = 1e-5,
        stride: int = 2,
        rngs: nnx.Rngs,
    ):
        self.num_layers, self.num_heads = check_integer("num_layers", num_layers, 0), num_heads
        self.context, self.hidden, self.head_dim = context, hidden, head_dim
        self.rotary_base, self.epsilon = rotary_base, epsilon
        self.stride, self.latent_dim = check_integer("stride", stride), seanet.latent_dim
        self.downsampling = (seanet.downsampling[0] * stride,)
        size = 2 * stride
        down = Conv1d(
            self.latent_dim,
            self.latent_dim,
            size,
            stride=stride,
            padding=causal(size, stride, "replicate"),
            use_bias=False,
            rngs=rngs,
        )
        super().__init__([seanet, _transformer(self, rngs), down])

    @property
    def seanet(self) -> SEANetEncoder:
        """The first part."""
        return cast(SEANetEncoder, self.layers[0])


class MimiDecoder(Chain):
    """The decoder of Mimi: the counterpart of `MimiEncoder`, with the same arguments.

    Args:
        seanet: the last part.
        upsample_groups: groups of the transposed convolution, which divide the channels; None: each
            channel by itself.
        num_layers, num_heads, context, hidden, head_dim: as for `MimiEncoder`.
        rotary_base, epsilon, stride, rngs: likewise.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        seanet: SEANetDecoder,
        *,
        num_layers: int = 8,
        num_heads: int = 8,
        context: int = 250,
        hidden: int = 2048,
        head_dim: int | None = None,
        rotary_base: float = 10_000.0,
        epsilon: float = 1e-5,
        stride: int = 2,
        upsample_groups: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.num_layers, self.num_heads = check_integer("num_layers", num_layers, 0), num_heads
        self.context, self.hidden, self.head_dim = context, hidden, head_dim
        self.rotary_base, self.epsilon = rotary_base, epsilon
        self.stride, self.latent_dim = check_integer("stride", stride), seanet.latent_dim
        self.upsample_groups = upsample_groups
        self.downsampling = (seanet.downsampling[0] * stride,)
        up = ConvTranspose1d(
            self.latent_dim,
            self.latent_dim,
            2 * stride,
            stride=stride,
            groups=self.latent_dim if upsample_groups is None else upsample_groups,
            cut=(0, stride),
            use_bias=False,
            rngs=rngs,
        )
        super().__init__([up, _transformer(self, rngs), seanet])

    @property
    def seanet(self) -> SEANetDecoder:
        """The last part."""
        return cast(SEANetDecoder, self.layers[2])


def _transformer(part: MimiEncoder | MimiDecoder, rngs: nnx.Rngs) -> Chain:
    return Chain(
        SlidingBlock(
            part.latent_dim,
            part.num_heads,
            context=part.context,
            hidden=part.hidden,
            head_dim=part.head_dim,
            rotary_base=part.rotary_base,
            epsilon=part.epsilon,
            rngs=rngs,
        )
        for _ in range(part.num_layers)
    )
