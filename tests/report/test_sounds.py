"""What the pages play is what was computed, and they stay small."""

import base64
import dataclasses
import io
import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from tests.report.test_html import Elements, pixels, record
from vqvae_jax.metrics import SISDR
from vqvae_jax.report.html import DrawnSignals, Heard, Report, comparison_of, report_of
from vqvae_jax.report.html import sounds as module
from vqvae_jax.report.html.sections import (
    audio_reconstructions,
    audio_samples,
    codebooks,
    same_recordings,
)
from vqvae_jax.report.html.sounds import sounds
from vqvae_jax.signals import to_signal

RATE, FRAME = 800, 8


def decode(codes):
    """Tones of the codes' frequencies; a code of -1 is silent."""
    cycles = np.repeat(codes, FRAME, axis=1).astype(float)
    time = np.arange(cycles.shape[1])[:, None]
    tones = np.where(cycles >= 0, np.sin(2 * np.pi * (cycles + 1) * time / FRAME / 8), 0)
    weights = 0.5 ** np.arange(1, codes.shape[-1] + 1)
    return np.round(2**14 * (tones * weights).sum(-1, keepdims=True)).astype(np.int16)


def heard(number=12, sizes=(4, 2), frames=60):
    random = np.random.RandomState(0)
    codes = np.stack([random.randint(0, size, (number, frames)) for size in sizes], -1)
    back = decode(codes)
    noise = random.normal(scale=100 * (1 + np.arange(number))[:, None, None], size=back.shape)
    signals = (back + noise).astype(np.int16)
    si_sdr = np.asarray(SISDR()(*(to_signal(jnp.asarray(of)) for of in (signals, back))))
    return Heard(
        signals=signals,
        codes=codes.astype(np.int32),
        reconstructions=back,
        si_sdr=si_sdr,
        mel_distance=random.rand(number),
        sample_rate=RATE,
        frame_rate=RATE / FRAME,
        codebook_sizes=sizes,
        decode=decode,
    )


def played(address):
    kind, _, content = address.partition(",")
    assert kind in ("data:audio/wav;base64", "data:audio/ogg;base64")
    return soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16", always_2d=True)


def assert_plays(sound, signal):
    samples, rate = played(sound.player)
    assert rate == RATE
    np.testing.assert_array_equal(samples, signal)


def test_pages_name_what_they_play_and_need_nothing_else():
    report = Report(
        [record(), record("runs/b")],
        heard={"runs/a": heard(), "runs/b": heard()},
        drawn_signals=DrawnSignals([0, 1], {1.0: heard(4).signals.reshape(2, 2, -1, 1)}, RATE),
    )
    in_groups, by_depth = 3 * 3 * 2, 2 * 3  # the first recording is the best
    players = in_groups + by_depth + 4
    for page, number in ((report_of(report), players), (comparison_of(report), 4 * 3)):
        elements = Elements(page).found
        assert sum(tag == "audio" for tag, _ in elements) == number
        for tag, attributes in elements:
            assert attributes.get("src", "data:").startswith("data:")
            assert tag != "audio" or (attributes["aria-label"] and "controls" in attributes)
            assert tag != "img" or attributes["alt"]
        for absent in (b"Code maps", b"Code atlas", b"The same images"):
            assert absent not in page


def test_reconstructions_are_ordered_by_si_sdr():
    of = heard()
    shown = audio_reconstructions(Report([record()], heard={"runs/a": of}))
    order = [*np.argsort(of.si_sdr)]
    groups = {name: [one["index"] for one in ones] for name, ones in shown["groups"]}
    assert groups == {"The worst": order[:3], "The best": order[:-4:-1], "The first": [0, 1, 2]}
    for _, recordings in shown["groups"]:
        for one in recordings:
            assert_plays(one["original"], of.signals[one["index"]])
            assert_plays(one["reconstruction"], of.reconstructions[one["index"]])
            assert float(one["si_sdr"]) == pytest.approx(of.si_sdr[one["index"]], abs=0.05)
    assert float(shown["si_sdr"]) == pytest.approx(np.median(of.si_sdr), abs=0.05)


def test_the_first_codebooks_are_heard_alone_at_their_bit_rates():
    of = heard()
    shown = audio_reconstructions(Report([record()], heard={"runs/a": of}))["by_depth"]
    order = np.argsort(of.si_sdr)
    assert [one["index"] for one in shown] == [*dict.fromkeys([order[0], order[-1], 0])]
    for one in shown:
        rates = [(each["codebooks"], each["bit_rate"]) for each in one["depths"]]
        assert rates == [("1 codebook", "0.2"), ("2 codebooks", "0.3")]  # 100 of 2 and 1 bits
        first, both = (each["sound"] for each in one["depths"])
        assert_plays(first, decode(of.codes[[one["index"]], :, :1])[0])
        assert_plays(both, of.reconstructions[one["index"]])
        qualities = [float(each["si_sdr"]) for each in one["depths"]]
        assert qualities[0] < qualities[1]
        assert qualities[1] == pytest.approx(of.si_sdr[one["index"]], abs=0.05)


def test_a_single_codebook_is_heard_once():
    report = Report([record()], heard={"runs/a": heard(sizes=(4,))})
    assert audio_reconstructions(report)["by_depth"] == []
    assert codebooks(report) is None


def test_of_many_codebooks_some_depths_are_heard():
    of = dataclasses.replace(heard(2, (2,) * 9), decode=lambda codes: decode(codes[..., :2]))
    shown = audio_reconstructions(Report([record()], heard={"runs/a": of}))["by_depth"]
    depths = [each["codebooks"] for each in shown[0]["depths"]]
    assert depths == ["1 codebook", *(f"{n} codebooks" for n in (2, 4, 8, 9))]


def test_codebooks_have_their_own_use():
    of = heard()
    of.codes[..., 1] = 1
    first, second = codebooks(Report([record()], heard={"runs/a": of}))["rows"]
    shares = np.bincount(of.codes[..., 0].ravel()) / of.codes[..., 0].size
    perplexity = math.exp(-(shares * np.log(shares)).sum())
    assert float(first["perplexity"]) == pytest.approx(perplexity, abs=0.05)
    assert (first["used"], first["size"], first["bit_rate"]) == (4, 4, "0.2")
    assert (second["used"], second["size"], second["perplexity"]) == (1, 2, "1.0")


def test_samples_are_played_by_class_and_guidance():
    signals = heard(12).signals.reshape(2, 2, 3, -1, 1)
    drawn = DrawnSignals([5, 7], {1.0: signals[0], 2.0: signals[1]}, RATE)
    report = Report([record()], drawn_signals=drawn)
    for sheet, of in zip(audio_samples(report)["sheets"], signals, strict=True):
        assert [row["label"] for row in sheet["rows"]] == [5, 7]
        for row, of_class in zip(sheet["rows"], of, strict=True):
            for sound, signal in zip(row["sounds"], of_class, strict=True):
                assert_plays(sound, signal)
    labels = re.findall(rb'aria-label="(Sample 3 of [^"]+)"', report_of(report))
    expected = [f"Sample 3 of class {c}, guidance {g}" for g in (1.0, 2.0) for c in (5, 7)]
    assert [label.decode() for label in labels] == expected


def test_runs_are_heard_side_by_side():
    first, second = heard(), dataclasses.replace(heard(), reconstructions=heard().signals // 2)
    runs = [record(), record("runs/b"), record("runs/c")]
    shown = same_recordings(Report(runs, heard={"runs/a": first, "runs/c": second}))
    assert shown["without"] == ["runs/b"]
    assert len(shown["recordings"]) == 4
    for index, one in enumerate(shown["recordings"]):
        assert_plays(one["original"], first.signals[index])
        for (name, sound, _), of in zip(one["runs"], (first, second), strict=True):
            assert name == ("runs/a" if of is first else "runs/c")
            assert_plays(sound, of.reconstructions[index])


def test_spectrograms_share_one_scale():
    loud = heard(1).signals
    by_key, axes = sounds({"loud": loud, "soft": loud // 16}, RATE)
    first, second = (pixels(by_key[key][0].spectrogram).astype(int) for key in ("loud", "soft"))
    assert first.max() == 255
    assert second.max() == pytest.approx(255 * (1 - 20 * math.log10(16) / 80), abs=2)
    assert "0.6 s" in axes
    assert "0 to 0.4 kHz" in axes


@pytest.mark.parametrize("section", [audio_reconstructions, audio_samples, codebooks])
def test_without_audio_there_is_no_section_of_it(section):
    assert section(Report([record()])) is None
    assert same_recordings(Report([record()])) is None


@pytest.mark.parametrize("channels", [1, 2])
def test_long_signals_are_compressed_and_cut(monkeypatch, channels):
    part = 16  # of what a page may have
    for name in ("_SAMPLES", "_AS_WAV"):
        monkeypatch.setattr(module, name, getattr(module, name) // part)
    noise = np.random.RandomState(0).randint(-(2**15), 2**15, (4, 2**17, channels))
    tone = 2**14 * np.sin(np.arange(2**17))[:, None].repeat(channels, 1)
    signals = np.stack([*noise, tone]).astype(np.int16)
    by_key, axes = sounds({"signals": signals}, 8000)
    assert part * sum(len(sound.player) for sound in by_key["signals"]) < 2 * 2**20
    samples, rate = played(by_key["signals"][-1].player)
    assert rate == 8000
    assert samples.size == module._SAMPLES // 5 // channels * channels
    assert f"the first {len(samples) / rate:.3g} s" in axes
    assert np.corrcoef(samples[:, 0], signals[-1, : len(samples), 0])[0, 1] > 0.99
