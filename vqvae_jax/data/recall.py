"""`recall_dataset`: the data that a run was trained on, wherever they can still be found."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vqvae_jax.data import archives as archives_of
from vqvae_jax.data import cache, layout
from vqvae_jax.data.dataset import Dataset, dataset_of
from vqvae_jax.data.loading import load_dataset
from vqvae_jax.data.prepared import data_folder, open_prepared
from vqvae_jax.errors import DamagedError, DataError

_log = logging.getLogger(__name__)


def recall_dataset(
    run: dict[str, Any],
    *,
    name: str,
    archives: str | None = None,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> Dataset:
    """Loads the data that a run was trained on, wherever they can still be found.

    They are identified by their digest: prepared, in any version, or in archives; where the
    arguments say, and where they were before.

    Args:
        run: the run's description, as in run.json.
        name: as in `load_dataset`, like the arguments that follow.
        archives: see there.
        data_dir: see there.
        allow_sample: see there.

    Returns:
        The run's data; or other data, if the arguments have changed since and name them: callers
        must compare the digest.

    Raises:
        DataError: they cannot be found any more; or what the arguments name cannot be read.
        OSError: data_dir cannot be written.
    """
    known, before = run["data"], run["config"]["data"]
    stands_in = known["name"] != name
    root = data_folder(data_dir)
    if name not in (before["name"], known["name"]) or (stands_in and not allow_sample):
        return load_dataset(name, archives=archives, data_dir=data_dir, allow_sample=allow_sample)
    if archives is not None and archives != before["archives"]:
        return _from_archives(name, archives, root, known["digest"])
    if data_dir is not None and data_dir != before["data_dir"]:
        try:
            there = open_prepared(name, root)
        except DamagedError as error:
            _log.warning("WARNING: %s", error)
        else:
            if there is not None:
                return there
    damage: DamagedError | None = None
    for find in _places(known, before, archives, root):
        try:
            dataset = find()
        except (DataError, OSError) as error:
            damage = error if isinstance(error, DamagedError) else damage
            continue
        if dataset is not None and dataset.digest == known["digest"]:
            if stands_in:
                _log.warning("WARNING: this run is on %s, %s", known["name"], known["source"])
            return dataclasses.replace(dataset, folder=dataset.folder or known.get("archives"))
    raise DataError(
        f"the run was trained on {known['name']} from {known['source']} ({known['train_images']} "
        f"and {known['test_images']} images, digest {known['digest'][:12]}), which cannot be found "
        f"any more{f' ({damage})' if damage else ''}; provide it in data.archives, a folder with "
        "its IDX files, or in data.data_dir, where it is prepared"
    ) from damage


def _places(
    known: dict[str, Any], before: dict[str, Any], archives: str | None, root: Path
) -> Iterator[Callable[[], Dataset | None]]:
    """Yields functions that look for a run's data, one per place."""
    name, digest = known["name"], known["digest"]
    recorded = [known["data_dir"]] if known.get("data_dir") else []
    roots = dict.fromkeys([root, *map(data_folder, [*recorded, before["data_dir"]])])
    manual = [str(each / "downloads" / "manual" / name) for each in roots]
    folders = dict.fromkeys([archives, known.get("archives"), before["archives"], *manual])
    for each in roots:
        yield functools.partial(_cached, name, each, digest)
        yield functools.partial(open_prepared, name, each)
        yield functools.partial(_any_version, name, each, digest)
    for folder in filter(None, folders):
        yield functools.partial(_from_archives, name, folder, root, digest)
    yield functools.partial(load_dataset, name, data_dir=str(root), allow_sample=False)


def _cached(name: str, root: Path, digest: str) -> Dataset | None:
    for folder in (cache.folder_of(name, root), cache.folder_of(name, root, digest)):
        cached = cache.read(folder)
        if cached is not None and cached[1]["digest"] == digest:
            return dataset_of(name, root, *cached)
    return None


def _any_version(name: str, root: Path, digest: str) -> Dataset | None:
    for folder in filter(layout.is_readable, layout.prepared_folders(name, root)):
        from vqvae_jax.data import tfds_store  # takes a second to import

        with contextlib.suppress(DataError):
            splits, description = tfds_store.read(folder)
            if description["digest"] == digest:
                return dataset_of(name, root, splits, description)
    return None


def _from_archives(name: str, archives: str, root: Path, digest: str) -> Dataset:
    """Reads the set in a folder; prepares it, if it has the digest and its name is free."""
    folder = Path(archives).expanduser()
    found = archives_of.read(name, archives_of.in_folder(archives, name), folder)
    dataset = dataset_of(name, root, *cache.describe(*found))
    if dataset.digest == digest:
        with contextlib.suppress(DataError, OSError):
            return load_dataset(name, archives=archives, data_dir=str(root))
    return dataset
