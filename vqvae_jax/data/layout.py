"""Where TFDS keeps prepared data sets: which folders exist, and which one a name refers to.

    <data_dir>/<name>/<version>             <data_dir>/<name>/<config>/<version>

TFDS can list them too, but takes a second to import.
"""

import hashlib
import json
import re
from pathlib import Path

_BESIDE = "array_record"  # in the data folder: for our sets, if TFDS's own place is taken
_INFO = "dataset_info.json"
_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


def own_folders(name: str, version: str, data_dir: Path) -> list[Path]:
    """Returns where a set may be prepared: TFDS's place or, if that is taken, one beside it."""
    return [base / version for base in _bases(name, data_dir)]


def prepared_folders(name: str, data_dir: Path) -> list[Path]:
    """Returns the folders of the prepared sets `name`, in order of preference.

    First the config that TFDS records as the default one; then sets without a config; then the
    other configs by name. Within each, the newest version comes first.

    Raises:
        OSError: a folder cannot be listed.
    """
    found = []
    default = _default_config(data_dir / name)
    for base in _bases(name, data_dir):
        for parent in (base, *_folders_in(base)):
            config = "" if parent == base else parent.name
            for folder in _folders_in(parent):
                version = _VERSION.fullmatch(folder.name)
                if version and (folder / _INFO).is_file():
                    newest_first = [-int(number) for number in version.groups()]
                    found.append(((config != default, config, newest_first), folder))
    return [folder for _, folder in sorted(found, key=lambda item: item[0])]


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of the prepared set that `name` refers to, or None.

    It is the newest version in a format that needs no TensorFlow; others are ignored.

    Raises:
        OSError: a folder cannot be listed.
    """
    folders = prepared_folders(name, data_dir)
    meant = {*_bases(name, data_dir), *(folder.parent for folder in folders[:1])}
    return next((f for f in folders if f.parent in meant and is_readable(f)), None)


def is_readable(folder: Path) -> bool:
    """Returns whether it holds a set in array_record, or one whose description is damaged."""
    try:
        description = json.loads((folder / _INFO).read_bytes())
        return bool(description.get("fileFormat") == "array_record")
    except (ValueError, AttributeError, RecursionError):
        return True  # so that reading it reports what is wrong
    except OSError:
        return False


def fingerprint(folder: Path) -> str:
    """Returns a string of a set's place, file sizes and times; it changes when that is replaced."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((folder.parts[-3:], stats)).encode()).hexdigest()


def _bases(name: str, data_dir: Path) -> list[Path]:
    return [data_dir / name, data_dir / _BESIDE / name]


def _default_config(base: Path) -> str:
    """Returns the config that TFDS uses by default; empty if it has none on record."""
    try:
        record = json.loads((base / ".config" / "metadata.json").read_bytes())
        return str(record.get("default_config_name") or "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def _folders_in(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    return sorted(path for path in base.iterdir() if path.is_dir() and path.name[0] != ".")
