"""Audio tokenizers: signals of any length, streaming, segments, codes at several rates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled
from vqvae_jax import (
    SNAC,
    AbsoluteError,
    AudioTokenizer,
    DACDecoder,
    DACEncoder,
    Encoder,
    MimiDecoder,
    MimiEncoder,
    PooledQuantizer,
    ResidualVQ,
    SEANetDecoder,
    SEANetEncoder,
    SegmentedTokenizer,
    SNACDecoder,
    SNACEncoder,
    VectorQuantizer,
)

DIM, CODES = 8, 16
SMALL = {"width": 4, "strides": (2, 3)}
MIMI = {"num_layers": 1, "num_heads": 2, "context": 3, "hidden": 8}


def rngs():
    return nnx.Rngs(0)


def quantizer(dim=DIM, depth=3):
    return ResidualVQ([VectorQuantizer(dim, CODES, rngs=rngs()) for _ in range(depth)])


def seanet(channels=1, kind=AudioTokenizer, tokenizer=None, **options):
    options = {**SMALL, "num_lstm_layers": 1, **options}
    return kind(
        SEANetEncoder(channels, DIM, **options, rngs=rngs()),
        quantizer(),
        SEANetDecoder(channels, DIM, **options, rngs=rngs()),
        AbsoluteError(channels, data_variance=1.0),
        sample_rate=800,
        **(tokenizer or {}),
    )


def mimi():
    options = {**SMALL, "num_lstm_layers": 0, "pad_mode": "zeros", "conv_shortcut": False}
    return AudioTokenizer(
        MimiEncoder(SEANetEncoder(1, DIM, **options, rngs=rngs()), **MIMI, rngs=rngs()),
        quantizer(),
        MimiDecoder(SEANetDecoder(1, DIM, **options, rngs=rngs()), **MIMI, rngs=rngs()),
        AbsoluteError(1, data_variance=1.0),
        sample_rate=800,
        multiple=12,
    )


def snac(window_size=None, strides=(2, 1)):
    shared = {"strides": (2, 3), "window_size": window_size, "rngs": rngs()}
    width = 2 if window_size is None else 16
    encoder = SNACEncoder(1, width=width, **shared)
    codebooks = [VectorQuantizer(4 * width, CODES, rngs=rngs()) for _ in strides]
    stages = [PooledQuantizer(*pair) for pair in zip(codebooks, strides, strict=True)]
    decoder = SNACDecoder(1, 4 * width, width=8 if window_size is None else 64, **shared)
    return SNAC(
        encoder,
        ResidualVQ(stages),
        decoder,
        AbsoluteError(1, data_variance=1.0),
        sample_rate=800,
        multiple=6 * 4,
    )


def signals(length, channels=1, batch_size=2):
    random = np.random.RandomState(length)
    return jnp.asarray(random.uniform(-1, 1, (batch_size, length, channels)), jnp.float32)


@pytest.mark.parametrize("length", [1, 31])
def test_a_signal_of_any_length(length):
    tokenizer, x = drawn(lambda: seanet(channels=3)), signals(length, 3)

    def all_of(tokenizer, x):
        codes = tokenizer.encode(x)
        return (
            tokenizer(x),
            codes,
            tokenizer.decode(codes, length=x.shape[1]),
            tokenizer.decode(codes[..., :1]),
        )

    output, codes, decoded, first = run_compiled(all_of, tokenizer, x)
    assert codes.shape == (2, -(-length // 6), 3)
    np.testing.assert_array_equal(output.quantized.indices, codes)
    assert output.reconstruction.shape == decoded.shape == x.shape
    assert first.shape == (2, 6 * -(-length // 6), 3)
    np.testing.assert_allclose(output.reconstruction, decoded, rtol=1e-4, atol=1e-5)
    expected = np.mean(np.abs(np.asarray(output.reconstruction) - x))
    np.testing.assert_allclose(output.reconstruction_loss, expected, rtol=1e-4)


def test_a_mask_drops_frames_from_the_loss():
    tokenizer, x = drawn(seanet), signals(30)
    mask = jnp.asarray([[True] * 5, [False] * 5])
    output = run_compiled(lambda tokenizer, x, mask: tokenizer(x, mask), tokenizer, x, mask)
    assert (output.quantized.indices[1] == -1).all()
    expected = np.mean(np.abs(np.asarray(output.reconstruction - x))[0])
    np.testing.assert_allclose(output.reconstruction_loss, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "size", "count"),
    [(seanet, 42, 3), pytest.param(mimi, 12, 5, marks=pytest.mark.slow)],
)
@pytest.mark.usefixtures("optimized")
def test_pieces_are_those_of_the_whole_and_compile_once(make, size, count):
    tokenizer, x = drawn(make), signals(size * count)
    graph, params = nnx.split(tokenizer)
    compiled = []

    def step(params, method, given, state):
        compiled.append(method)
        return getattr(nnx.merge(graph, params), method)(given, state)

    step = jax.jit(step, static_argnames="method")
    latents, codes = run_compiled(lambda t, x: (t.latents(x), t.encode(x)), tokenizer, x)
    state, streamed = tokenizer.start_encoding(2), []
    for start in range(0, x.shape[1], size):
        piece, state = step(params, "encode_piece", x[:, start : start + size], state)
        streamed.append(piece)
    np.testing.assert_array_equal(jnp.concatenate(streamed, axis=1), codes)
    assert len(np.unique(codes)) > 4
    audio = run_compiled(lambda tokenizer, codes: tokenizer.decode(codes), tokenizer, codes)
    state, streamed = tokenizer.start_decoding(2), []
    frames = codes.shape[1] // count
    for start in range(0, codes.shape[1], frames):
        piece, state = step(params, "decode_piece", codes[:, start : start + frames], state)
        streamed.append(piece)
    np.testing.assert_allclose(jnp.concatenate(streamed, axis=1), audio, rtol=1e-5, atol=1e-5)
    assert compiled == ["encode_piece", "decode_piece"]
    assert latents.shape == (*codes.shape[:2], DIM)


def test_pieces_are_computed_in_the_type_of_the_whole():
    tokenizer, x = drawn(lambda: seanet(tokenizer={"dtype": jnp.bfloat16})), signals(84)
    codes = run_compiled(lambda tokenizer, x: tokenizer.encode(x), tokenizer, x)
    audio = run_compiled(lambda tokenizer, codes: tokenizer.decode(codes), tokenizer, codes)

    def last_piece(tokenizer, given, state, method):
        for piece in jnp.split(given, 2, axis=1):
            result, state = getattr(tokenizer, method)(piece, state)
            assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state.context))
        return result

    for method, given, whole, state in (
        ("encode_piece", x, codes, tokenizer.start_encoding(2)),
        ("decode_piece", codes, audio, tokenizer.start_decoding(2)),
    ):
        piece = run_compiled(last_piece, tokenizer, given, state, method=method)
        assert piece.dtype == whole.dtype
        far = np.abs(np.subtract(piece, whole[:, whole.shape[1] // 2 :])) > 0.02
        assert np.mean(far) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: seanet(causal=False), "only a causal one can be streamed"),
        (lambda: seanet(normalize=True), "cannot be streamed"),
        (lambda: seanet(1, SegmentedTokenizer), "signals are encoded in segments"),
    ],
)
def test_what_cannot_be_streamed_says_so(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(make).start_encoding(1)


@pytest.mark.usefixtures("unchecked")
def test_pieces_are_whole_frames():
    tokenizer = drawn(seanet)
    with pytest.raises(ValueError, match=r"x has shape \(1, 44, 1\); .* a multiple of 6"):
        tokenizer.encode_piece(signals(44, batch_size=1), tokenizer.start_encoding(1))
    with pytest.raises(ValueError, match="x has type int16; it must be floating"):
        tokenizer.encode_piece(jnp.zeros((1, 42, 1), jnp.int16), tokenizer.start_encoding(1))


@pytest.mark.parametrize("given", [{"segment_length": 24}, {"segment_stride": 24}])
def test_segments_have_both_a_length_and_a_stride(given):
    with pytest.raises(ValueError, match="both must be given, or neither"):
        nnx.eval_shape(lambda: seanet(1, SegmentedTokenizer, given))


@pytest.mark.slow
def test_segments_overlap_and_have_their_own_scale():
    made = drawn(
        lambda: seanet(
            2,
            SegmentedTokenizer,
            {"segment_length": 24, "segment_stride": 20},
            causal=False,
            normalize=True,
        )
    )
    x = signals(50, 2)

    def parts_of(tokenizer, x):
        codes = tokenizer.encode(x)
        alone = AudioTokenizer.decode
        parts = [alone(tokenizer, segment) for segment in codes.segments]
        first = tokenizer.latents(x[:, :24] / codes.scales[0][..., None])
        return codes, parts, tokenizer.decode(codes), tokenizer.quantizer.encode(first)

    codes, parts, decoded, first = run_compiled(parts_of, made, x)
    assert [segment.shape[1] for segment in codes.segments] == [4, 4, 2]
    np.testing.assert_array_equal(codes.segments[0], first)
    mono = np.mean(np.asarray(x[:, 20:44]), axis=2)
    np.testing.assert_allclose(codes.scales[1][:, 0], np.sqrt(np.mean(mono**2, 1)), rtol=1e-5)
    weights = 0.5 - np.abs(np.linspace(0, 1, 26)[1:-1] - 0.5)
    sums, total = np.zeros((2, 64, 2)), np.zeros(64)
    for index, (part, scale) in enumerate(zip(parts, codes.scales, strict=True)):
        own = weights[: part.shape[1]]
        at = slice(20 * index, 20 * index + part.shape[1])
        sums[:, at] += own[:, None] * np.asarray(part) * np.asarray(scale)[..., None]
        total[at] += own
    np.testing.assert_allclose(decoded, (sums[:, :50] / total[:50, None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("full_length", [True, False])
def test_dac_leaves_out_what_it_says(full_length):
    options = {"width": 8, "strides": (2, 3)}

    def build():
        return AudioTokenizer(
            DACEncoder(2, DIM, **options, rngs=rngs()),
            quantizer(),
            DACDecoder(2, DIM, **options, full_length=full_length, rngs=rngs()),
            AbsoluteError(2, data_variance=1.0),
            sample_rate=800,
            multiple=6,
        )

    tokenizer = nnx.eval_shape(build)
    lacking = tokenizer.decoder.shortfall[0]
    assert lacking == (0 if full_length else 2)
    output = nnx.eval_shape(lambda tokenizer, x: tokenizer(x), tokenizer, signals(18, 2))
    assert output.reconstruction.shape == (2, 18 - lacking, 2)
    assert output.loss.shape == ()


def test_codes_at_several_rates():
    tokenizer, x = drawn(snac), signals(40)

    def all_of(tokenizer, x, key):
        codes = tokenizer.encode(x)
        coarse = dataclasses.replace(codes, levels=codes.levels[:1])
        return (
            codes,
            tokenizer.decode(codes),
            tokenizer(x).reconstruction,
            tokenizer.decode(coarse),
            tokenizer.decode(codes, key=key),
        )

    key = jax.random.key(0)
    codes, decoded, reconstruction, coarse, noisy = run_compiled(all_of, tokenizer, x, key)
    assert [level.shape for level in codes.levels] == [(2, 4), (2, 8)]
    assert decoded.shape == coarse.shape == x.shape
    np.testing.assert_allclose(decoded, reconstruction, rtol=1e-4, atol=1e-5)
    assert np.max(np.abs(noisy - decoded)) > 1e-3
    assert np.max(np.abs(coarse - decoded)) > 1e-3


@pytest.mark.usefixtures("unchecked")
def test_wrong_signals_and_parts():
    tokenizer = drawn(seanet)
    for x, message in (
        (jnp.zeros((1, 0, 1)), r"x has shape \(1, 0, 1\); it must be \[B, T, 1\]"),
        (jnp.zeros((1, 9, 2)), r"x has shape \(1, 9, 2\)"),
        (jnp.zeros((1, 9, 1), jnp.int32), "x has type int32; it must be floating"),
    ):
        with pytest.raises(ValueError, match=message):
            tokenizer.encode(x)
    with pytest.raises(ValueError, match="downsampling"):
        AudioTokenizer(
            drawn(lambda: Encoder(1, DIM, rngs=rngs())),
            tokenizer.quantizer,
            tokenizer.decoder,
            tokenizer.likelihood,
            sample_rate=800,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": ()}, r"strides is \(\); it must be a list"),
        ({"strides": (2, 0)}, "strides is 0"),
        ({"pad_mode": "wrap"}, "mode is 'wrap'"),
        ({"compress": 9}, "compress is 9; it must be at most width = 4"),
        ({"causal": 1}, "causal is 1; it must be True or False"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_of_seanet(options, message):
    with pytest.raises(ValueError, match=message):
        SEANetEncoder(1, DIM, **{"width": 4, **options}, rngs=rngs())
