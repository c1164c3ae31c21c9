"""Opus and Codec2 of speech.py: 16-bit signals at 8 kHz to files, and back."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 8000
PROGRAMS = {"opusenc": "opus-tools", "opusdec": "opus-tools", "c2enc": "codec2", "c2dec": "codec2"}

# Maps a signal, int16 [T], to what comes back, int16 [T'], and the bytes of the file between.
Codec = Callable[[np.ndarray], tuple[np.ndarray, int]]


def check_programs() -> None:
    """Ends this program if one of the others is missing."""
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if missing:
        sys.exit(f"programs are missing; apt-get install {' '.join(missing)} installs them")


def opus(kilobits: int, milliseconds: int) -> Codec:
    """Opus at a constant bit rate, tuned for speech, in frames of so many milliseconds."""

    def coded(signal: np.ndarray) -> tuple[np.ndarray, int]:
        with tempfile.TemporaryDirectory() as folder:
            given, file, back = (Path(folder, name) for name in ("in.wav", "file.opus", "out.wav"))
            soundfile.write(given, signal, SAMPLE_RATE)
            rate = ["--bitrate", str(kilobits), "--hard-cbr", "--speech"]
            frame = ["--framesize", str(milliseconds), "--padding", "0"]
            _run("opusenc", "--quiet", *rate, *frame, given, file)
            _run("opusdec", "--quiet", "--rate", str(SAMPLE_RATE), file, back)
            return soundfile.read(back, dtype="int16")[0], file.stat().st_size

    return coded


def codec2(mode: int, frame: int) -> Codec:
    """Codec2 at so many bits per second, whose frames have so many samples."""

    def coded(signal: np.ndarray) -> tuple[np.ndarray, int]:
        with tempfile.TemporaryDirectory() as folder:
            given, file, back = (Path(folder, name) for name in ("in.raw", "file.c2", "out.raw"))
            size = -(-len(signal) // frame) * frame  # what does not fill a frame would be dropped
            np.pad(signal, (0, size - len(signal))).astype("<i2").tofile(given)
            _run("c2enc", str(mode), given, file)
            _run("c2dec", str(mode), file, back)
            return np.fromfile(back, "<i2"), file.stat().st_size

    return coded


def aligned(signal: np.ndarray, back: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """The signal that came back, moved to where it correlates best, and by how much.

    Args:
        signal: [T].
        back: [T'], of any length.
        most: samples that it is moved by at most, to earlier or to later.
    """
    padded = np.pad(back, (most, max(0, len(signal) - len(back)) + most)).astype(np.float64)
    size = 2 ** int(np.ceil(np.log2(len(padded) + len(signal))))
    spectra = np.fft.rfft(padded, size) * np.conj(np.fft.rfft(signal.astype(np.float64), size))
    shift = int(np.argmax(np.fft.irfft(spectra, size)[: 2 * most + 1]))
    return padded[shift : shift + len(signal)], shift - most


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()}")
