"""The networks of DALL-E's dVAE, whose codes are the categories of a vocabulary."""

import functools
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import Conv
from vqvae_jax.layers.resampling import repeated
from vqvae_jax.models.chunks import in_chunks
from vqvae_jax.models.tokenizer import Tokenizer
from vqvae_jax.precision import compute_in, wide
from vqvae_jax.tables import as_int32, lookup

# Widths of the groups, the highest resolution first.
_MULTIPLIERS = (1, 2, 4, 8)
# Pixels are mapped to [eps, 1 - eps], the range of the logit-Laplace distribution.
_EPS = 0.1


class DalleBlock(nnx.Module):
    """shortcut(x) + gain * four convolutions, a ReLU before each.

    The shortcut is x itself, or Conv 1x1 where the number of channels changes.

    Args:
        in_features: channels of x, at least 1.
        out_features: channels of the result, at least 4; the first three convolutions have a
            quarter.
        kernel_sizes: those of the convolutions, odd.
        gain: the factor.
        rngs: `params` draws the initial values.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel_sizes: Sequence[int],
        gain: float,
        rngs: nnx.Rngs,
    ):
        hidden = out_features // 4
        dims = [in_features, hidden, hidden, hidden, out_features]
        self.gain = gain
        self.convs = nnx.List(
            [
                Conv(before, after, size, padding=size // 2, rngs=rngs)
                for before, after, size in zip(dims, dims[1:], kernel_sizes, strict=False)
            ]
        )
        same = in_features == out_features
        self.shortcut = None if same else Conv(in_features, out_features, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c_out"]:
        """Maps [B, H, W, C] to [B, H, W, C_out]."""
        change = x
        for layer in self.convs:
            change = layer(nnx.relu(change))
        return (x if self.shortcut is None else self.shortcut(x)) + self.gain * change


class DalleEncoder(nnx.Module):
    """The encoder of the dVAE (Ramesh et al. 2021, arXiv:2102.12092, appendix A.2).

    Conv 7x7; four groups of blocks, of 1, 2, 4 and 8 widths, with max-pooling by 2 after all but
    the last; ReLU, Conv 1x1 to the logits of the vocabulary. Images in [0, 1] are first mapped to
    [0.1, 0.9].

    Args:
        in_dim: channels of the images, at least 1.
        vocab_size: K, the number of codes, at least 1.
        width: channels of the first group, at least 4.
        num_blocks: blocks of each group, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 2
    downsampling = (8, 8)

    def __init__(
        self,
        in_dim: int = 3,
        vocab_size: int = 8192,
        *,
        width: int = 256,
        num_blocks: int = 2,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.vocab_size = in_dim, vocab_size
        self.width, self.num_blocks = check_integer("width", width, 4), num_blocks
        self.first = Conv(in_dim, width, 7, padding=3, rngs=rngs)
        dims = [width * by for by in (1, *_MULTIPLIERS)]
        self.groups = _groups(dims, num_blocks, (3, 3, 3, 1), rngs)
        self.last = Conv(dims[-1], vocab_size, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out k"]:
        """Maps images [B, H, W, C] in [0, 1] to logits [B, H / 8, W / 8, K]."""
        x = self.first((1 - 2 * _EPS) * x + _EPS)
        for index, group in enumerate(self.groups):
            if index > 0:
                x = nnx.max_pool(x, (2, 2), (2, 2))
            for block in group:
                x = block(x)
        return self.last(nnx.relu(x))


class DalleDecoder(nnx.Module):
    """The decoder of the dVAE (Ramesh et al. 2021, arXiv:2102.12092, appendix A.2).

    Conv 1x1; four groups of blocks, of 8, 4, 2 and 1 widths, with twice the resolution after all
    but the last; ReLU, Conv 1x1 to the mean and the log scale of a logit-Laplace distribution of
    each number.

    Args:
        out_dim: channels of the images, at least 1.
        vocab_size: K, the number of codes, at least 1.
        first_width: channels of the first layer, at least 1: the size of its vector for a code.
        width: channels of the last group, at least 4.
        num_blocks: blocks of each group, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 2
    downsampling = (8, 8)

    def __init__(
        self,
        out_dim: int = 3,
        vocab_size: int = 8192,
        *,
        first_width: int = 128,
        width: int = 256,
        num_blocks: int = 2,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.vocab_size, self.first_width = out_dim, vocab_size, first_width
        self.width, self.num_blocks = check_integer("width", width, 4), num_blocks
        self.first = Conv(vocab_size, first_width, 1, rngs=rngs)
        dims = [first_width, *(width * by for by in reversed(_MULTIPLIERS))]
        self.groups = _groups(dims, num_blocks, (1, 3, 3, 3), rngs)
        self.last = Conv(dims[-1], 2 * out_dim, 1, rngs=rngs)

    def __call__(
        self, z: Float[Array, "b h w k"] | Int[Array, "b h w"]
    ) -> Float[Array, "b h_out w_out c"]:
        """Maps what `statistics` takes to images [B, 8 h, 8 w, C] in [0, 1].

        They are sigmoid(mean), mapped back from [0.1, 0.9] and clipped.
        """
        mean = self.statistics(z)[..., : self.out_dim]
        return ((nnx.sigmoid(mean) - _EPS) / (1 - 2 * _EPS)).clip(0, 1)

    def statistics(
        self, z: Float[Array, "b h w k"] | Int[Array, "b h w"]
    ) -> Float[Array, "b h_out w_out s"]:
        """Returns the parameters of the logit-Laplace distributions.

        Args:
            z: the codes' one-hot vectors, or mixtures of them, [B, h, w, K]; or the codes [B, h,
                w], which is the same and takes less memory.

        Returns:
            [B, 8 h, 8 w, 2 C]: C means, and C logarithms of scales.
        """
        x = self.first(z) if jnp.issubdtype(z.dtype, jnp.floating) else self._looked_up(z)
        for index, group in enumerate(self.groups):
            if index > 0:
                x = repeated(x)
            for block in group:
                x = block(x)
        return self.last(nnx.relu(x))

    def _looked_up(self, codes: Int[Array, "b h w"]) -> Float[Array, "b h w c"]:
        assert self.first.bias is not None
        return lookup(self.first.kernel[0, 0], codes) + self.first.bias[...][None, None, None, :]


class DalleTokenizer(Tokenizer):
    """A `Tokenizer` of a `DalleEncoder`, a `CategoricalQuantizer` and a `DalleDecoder`.

    Decodes codes without the one-hot vectors that they stand for. The arguments are those of
    `Tokenizer`; value_range should be (0, 1).
    """

    def decoded_codes(self, codes: Int[Array, " b *codes"]) -> Float[Array, "b *spatial f"]:
        """Returns the decoder's output for codes, as `decode` takes them."""
        codes = as_int32("codes", codes)
        axes = [n * by for n, by in zip(codes.shape[1:], self.downsampling, strict=False)]
        decoder = functools.partial(compute_in, self.dtype, self.decoder)
        return in_chunks(lambda codes: wide(decoder(codes)), axes, codes)


def _groups(
    dims: Sequence[int], num_blocks: int, kernel_sizes: Sequence[int], rngs: nnx.Rngs
) -> nnx.List[nnx.List[DalleBlock]]:
    """Returns groups of blocks, the first of which changes the number of channels."""
    gain = 1 / (len(_MULTIPLIERS) * check_integer("num_blocks", num_blocks)) ** 2
    make = functools.partial(DalleBlock, kernel_sizes=kernel_sizes, gain=gain, rngs=rngs)
    return nnx.List(
        [
            nnx.List([make(after if index else before, after) for index in range(num_blocks)])
            for before, after in itertools.pairwise(dims)
        ]
    )
