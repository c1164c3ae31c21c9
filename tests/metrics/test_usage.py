"""The usage of codes: what it keeps of counts is what NumPy counts."""

import json

import numpy as np
import pytest

from vqvae_jax.metrics.usage import Usage, ranks


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [1]), (4, [1, 4]), (5, [1, 4, 5]), (64, [1, 4, 16, 64])]
)
def test_ranks_end_at_the_size(size, expected):
    assert ranks(size) == expected


@pytest.mark.parametrize(("size", "most"), [(1, 4), (100, 8), (100, 1000)])
def test_usage_is_of_the_most_frequent_values(size, most):
    counts = np.random.RandomState(0).randint(0, 9, size)
    usage = Usage.of(counts, most)
    assert (usage.size, usage.used, usage.tokens) == (size, np.sum(counts > 0), counts.sum())
    ranked = sorted(counts, reverse=True)
    assert [*usage.covered] == [sum(ranked[:rank]) for rank in ranks(size)]
    assert [*usage.counts.values()] == ranked[: min(most, usage.used)]
    for value, count in enumerate(counts):
        kept = usage.counts.get(value)
        assert kept == count or (kept is None and count <= ranked[min(most, size) - 1])
        assert usage.share(value) == (kept or 0) / counts.sum()
    assert Usage.from_json(json.loads(json.dumps(usage.to_json()))) == usage


def test_codes_that_never_occur_have_no_share():
    usage = Usage.of(np.zeros(5, int), 3)
    assert (usage.used, usage.tokens, usage.counts, usage.share(2)) == (0, 0, {}, 0)


def test_what_is_no_usage_is_refused():
    given = Usage.of(np.arange(5), 3).to_json()
    for wrong in (
        {"size": 64},
        {"size": 0},
        {"used": "many"},
        {"counts": [[1]]},
        {"covered": None},
    ):
        with pytest.raises((ValueError, TypeError)):
            Usage.from_json(given | wrong)
