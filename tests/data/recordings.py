"""Small audio files, and hostile ones."""

import io

import numpy as np
import soundfile

RATE = 800


def tone(length, hertz=50.0, rate=RATE, amplitude=0.5):
    """A sine, float64 [length, 1]."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(length) / rate)[:, None]


def write_tones(folder, lengths, rate=RATE, suffix=".wav"):
    """Writes tones of these lengths by name, each at another frequency; returns int16 [T, 1]."""
    samples = {}
    for index, (name, length) in enumerate(lengths.items()):
        file = folder / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        samples[name] = np.round(tone(length, 30 + 7 * index, rate) * 2**15).astype(np.int16)
        soundfile.write(file, samples[name], rate, subtype="PCM_16")
    return samples


def audio_bytes(signal, kind="WAV", rate=8000, subtype=None):
    """The content of an audio file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, signal, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def hostile_files(folder):
    """Writes files that are no audio, or none that can be used; returns how each is refused."""
    good = audio_bytes(tone(2000))
    contents = {
        "empty": (b"", "cannot be read: "),
        "nothing": (audio_bytes(np.zeros((0, 1))), "cannot be used: it holds no samples"),
        "header": (good[:30], "cannot be read: "),
        "lying": (good[:24] + b"\xff" * 16 + good[40:], "cannot be "),
        "nan": (
            audio_bytes(np.full((50, 1), np.nan), subtype="FLOAT"),
            "cannot be used: it has samples that are not finite",
        ),
        "wide": (
            audio_bytes(np.zeros((50, 96))),
            "cannot be used: it has 96 channels; it must have 1 to 32",
        ),
        "random": (np.random.RandomState(0).bytes(500), "cannot be read: "),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read: "),
    }
    for name, (content, _) in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    length = 50 * 3600 * 8000  # hours
    header = bytearray(audio_bytes(np.zeros((1, 1)))[:44])
    header[4:8], header[40:44] = ((n + 2 * length).to_bytes(4, "little") for n in (36, 0))
    with (folder / "hours.wav").open("wb") as file:
        file.write(header)
        file.truncate(44 + 2 * length)  # takes no room on the disk
    refused = {name: reason for name, (_, reason) in contents.items()}
    return refused | {"hours": f"cannot be used: it has {length} samples, at 8000 per second"}
