"""The pages: whole in one file, and what they show is what was computed."""

import base64
import dataclasses
import html.parser
import importlib
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from vqvae_jax.metrics import Usage
from vqvae_jax.report.html import Drawn, HeldOut, Report, RunRecord, comparison_of, report_of
from vqvae_jax.report.html.sections import (
    atlas,
    code_map,
    code_use,
    curves,
    differences,
    reconstructions,
    samples,
)

K, PATCH = 6, 4


def decode(codes):
    """Patches of the codes' brightness that run into the neighbors to the right and below."""
    level = (codes.sum(axis=-1) + codes.shape[-1]) * 9 + 20
    wide = np.repeat(np.repeat(level, PATCH, axis=1), PATCH, axis=2)
    down = np.concatenate([wide[:, :2], wide[:, :-2]], axis=1)
    right = np.concatenate([wide[:, :, :3], wide[:, :, :-3]], axis=2)
    blurred = (wide + down + right) // 3
    return np.repeat(blurred[..., None], 3, axis=-1).astype(np.uint8)


def held_out(number=20, codebooks=1):
    random = np.random.RandomState(0)
    codes = random.randint(0, K - 1, (number, 3, 2, codebooks)).astype(np.int32)
    back = decode(codes)
    noise = random.randint(0, 1 + np.arange(number)[:, None, None, None], back.shape)
    images = (back.astype(int) + noise).astype(np.uint8)
    return HeldOut(images, codes, back, random.rand(number, 3, 2), K, decode)


def record(name="runs/a", rate=0.1, values=(3.0, 1.0, 2.0)):
    description = {
        "config": {"training": {"learning_rate": rate, "seed": 0}, "model": {"kind": "VQVAE"}},
        "data": {"name": "mnist", "source": "archives"},
    }
    log = [{"step": 10, "epoch": 1, "split": "settings", "images": 0, "seed": 1}]
    for epoch, value in enumerate(values, start=1):
        common = {"step": 100 * epoch, "epoch": epoch, "images": 5, "images_per_second": 9.0}
        log.append({**common, "split": "train", "loss": 2 * value, "nmse": value})
        held_out = {"loss": value, "nmse": value, "entropy_loss": 0.0, "codes_used": 4}
        log.append({**common, "split": "test", **held_out})
    return RunRecord(name, description, log, "nmse")


def usage(codebooks=1, evaluations=3, most=99):
    """The usage of each codebook at some steps, and the counts it is of."""
    random = np.random.RandomState(0)
    names = [f"codes_{number}" for number in range(1, codebooks + 1)]
    counts = {
        100 * epoch: {name: random.randint(0, 9, K) for name in names}
        for epoch in range(1, evaluations + 1)
    }
    return counts, {
        step: {name: Usage.of(of, most) for name, of in by_name.items()}
        for step, by_name in counts.items()
    }


def whole():
    used = dataclasses.replace(record(), usage=usage()[1])
    return Report([used, record("runs/b", 0.2)], {"runs/a": held_out()})


def pixels(address):
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


class Elements(html.parser.HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("page", [report_of, comparison_of])
def test_a_page_needs_nothing_else(page):
    content = page(whole())
    assert len(content) < 5 * 2**20
    elements = Elements(content).found
    assert sum(tag == "img" for tag, _ in elements) > 5
    for tag, attributes in elements:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)
        assert tag != "img" or attributes["alt"]
    titles = re.findall(rb'<svg[^>]*role="img"><title>([^<]+)</title>', content)
    assert len(titles) == sum(tag == "svg" for tag, _ in elements)


@pytest.mark.parametrize("page", [report_of, comparison_of])
def test_links_lead_to_sections(page):
    elements = Elements(page(whole())).found
    places = {attributes.get("id") for _, attributes in elements}
    links = [attributes["href"][1:] for tag, attributes in elements if tag == "a"]
    assert len(links) > 1
    assert {*links} <= places


def test_names_are_text():
    name = "runs/</script><script>alert(1)</script>"
    content = report_of(Report([record(name), record("runs/b")]))
    assert b"<script>alert(1)" not in content
    assert b"&lt;script&gt;alert(1)" in content


@pytest.mark.parametrize("section", [reconstructions, atlas, code_map, samples])
def test_without_images_there_is_no_section_of_them(section):
    assert section(Report([record()])) is None


def test_a_run_before_its_first_evaluation_has_a_report():
    run = dataclasses.replace(record(), log=record().log[:2])
    assert run.best is None
    assert curves(Report([run])) is None
    assert b"learning_rate" in report_of(Report([run]))
    assert b"learning_rate" in comparison_of(Report([run, record("runs/b", 0.2)]))


def test_curves_have_a_table_of_the_same_values():
    shown = curves(whole())
    assert shown["names"] == ["nmse", "loss", "codes_used"]
    assert shown["rows"][1] == ("runs/a", 200, ["1", "1", "4"])
    assert len(shown["rows"]) == 6
    # The script of the plots holds every value of both splits, and whose they are.
    for text in ("[6.0,2.0,4.0]", "[3.0,1.0,2.0]", "runs/b, train", "runs/b, test"):
        assert text in re.sub(r"\s", "", shown["script"]) or text in shown["script"]


def test_reconstructions_are_ordered_by_their_error():
    of = held_out()
    shown = dict(reconstructions(Report([record()], {"runs/a": of}))["groups"])
    squares = ((of.images.astype(float) - of.reconstructions) ** 2).mean(axis=(1, 2, 3))
    order = np.argsort(squares, kind="stable")
    np.testing.assert_array_equal([one["index"] for one in shown["The worst"]], order[::-1][:8])
    assert [one["index"] for one in shown["The first"]] == [*range(8)]
    worst = shown["The worst"][0]
    psnr = 10 * math.log10(255**2 / squares[order[-1]])
    assert float(worst["psnr"]) == pytest.approx(psnr, abs=0.05)
    image, back, error = np.split(pixels(worst["image"]), 3)
    np.testing.assert_array_equal(image, of.images[order[-1]])
    np.testing.assert_array_equal(back, of.reconstructions[order[-1]])
    difference = np.abs(image.astype(int) - back).mean(axis=-1)
    brightest = error.astype(int).sum(axis=-1)
    assert difference.flat[brightest.argmax()] == difference.max()


@pytest.mark.parametrize("codebooks", [1, 2])
def test_the_atlas_shows_codes_alone_and_the_nearest_patches(codebooks):
    of = held_out(codebooks=codebooks)
    shown = atlas(Report([record()], {"runs/a": of}))
    assert shown["used"] == K - 1
    counts = np.bincount(of.codes[..., 0].ravel(), minlength=K)
    assert [one["code"] for one in shown["codes"]] == [*np.argsort(-counts, kind="stable")][: K - 1]
    for one in shown["codes"]:
        assert float(one["share"]) == pytest.approx(100 * counts[one["code"]] / counts.sum(), 0.06)
        code = np.array([one["code"], *[-1] * (codebooks - 1)])
        whole = decode(np.broadcast_to(code, (1, 3, 2, codebooks)))[0]
        middle = whole[PATCH : 2 * PATCH, PATCH : 2 * PATCH]
        np.testing.assert_array_equal(pixels(one["alone"]), middle)
        places = np.argwhere(of.codes[..., 0] == one["code"])
        index, i, j = min(places, key=lambda place: of.distances[tuple(place)])
        margin = PATCH // 2
        nearest = pixels(one["patches"])[margin : margin + PATCH, margin : margin + PATCH]
        there = of.images[index, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)]
        np.testing.assert_array_equal(nearest, there)


@pytest.mark.parametrize(("most", "kept"), [(99, None), (2, 2)])
def test_the_atlas_shows_each_codes_share_over_the_run(most, kept):
    counts, used = usage(codebooks=2, most=most)
    run = dataclasses.replace(record(), usage=used)
    shown = atlas(Report([run], {"runs/a": held_out(codebooks=2)}))
    assert (shown["evaluations"], shown["kept"]) == (3, kept)
    all_counts = np.array([of["codes_1"] for of in counts.values()])
    rank = np.argsort(np.argsort(-all_counts, axis=1, kind="stable"), axis=1)
    all_shares = np.where(rank < most, all_counts, 0) / all_counts.sum(axis=1, keepdims=True)
    for one in shown["codes"]:
        shares = all_shares[:, one["code"]]
        points = np.array([point.split(",") for point in one["trend"]["points"].split()], float)
        np.testing.assert_allclose(points[:, 0], [0, 50, 100])
        heights = shares / (shares.max() or 1)
        np.testing.assert_allclose((30 - points[:, 1]) / 30, heights, atol=0.01)
        told = [float(text) for text in re.findall(r"([^ ]+) %", one["trend"]["text"])]
        expected = [shares[0], shares[-1], shares.max()]
        np.testing.assert_allclose(told, 100 * np.array(expected), rtol=0.06)


@pytest.mark.parametrize("codebooks", [1, 2])
def test_the_use_of_the_codes_is_of_the_ranks_at_each_evaluation(codebooks):
    counts, used = usage(codebooks)
    tables = code_use(Report([dataclasses.replace(record(), usage=used)]))["tables"]
    assert len(tables) == codebooks
    for number, table in enumerate(tables, start=1):
        assert table["ranks"] == ["1", "2 to 4", "5 to 6"]
        assert [row[0] for row in table["rows"]] == [*counts]
        for (_, used_codes, shares), of in zip(table["rows"], counts.values(), strict=True):
            ranked = np.sort(of[f"codes_{number}"])[::-1]
            assert used_codes == np.count_nonzero(ranked)
            told = [float(share.removesuffix(" %")) / 100 for share in shares]
            parts = [ranked[0], ranked[1:4].sum(), ranked[4:].sum()]
            np.testing.assert_allclose(told, np.array(parts) / ranked.sum(), rtol=0.006)


@pytest.mark.parametrize("evaluations", [0, 1])
def test_runs_without_a_use_over_time_have_a_report(evaluations):
    run = dataclasses.replace(record(), usage=usage(evaluations=evaluations)[1])
    report = Report([run], {"runs/a": held_out()})
    assert code_use(report) is None
    page = report_of(report)
    assert b"<h2>Code atlas</h2>" in page
    assert b'class="trend"' not in page


def test_long_runs_show_some_of_their_evaluations():
    run = dataclasses.replace(record(), usage=usage(evaluations=1000)[1])
    steps = [*run.usage_shown]
    assert len(steps) == 100
    assert (steps[0], steps[-1]) == (100, 100_000)
    assert len(report_of(Report([run], {"runs/a": held_out()}))) < 5 * 2**20


@pytest.mark.parametrize("codebooks", [1, 2])
def test_edits_of_a_code_map_are_the_decoders(codebooks):
    of = held_out(codebooks=codebooks)
    shown = code_map(Report([record()], {"runs/a": of}))
    data = json.loads(shown["data"])
    replacements = [one["code"] for one in data["replacements"]]
    assert replacements == [*of.most_used]
    assert len(data["maps"]) == 3
    for index, one in enumerate(data["maps"]):
        np.testing.assert_array_equal(one["codes"], of.codes[index, ..., 0])
        base, sheet = pixels(one["image"]), pixels(one["changes"]["image"])
        width, height = one["changes"]["size"]
        assert height < base.shape[0]  # no more than what changes
        for token in range(6):
            x, y = one["changes"]["corners"][token]
            for column, code in enumerate(replacements):
                edited = of.codes[index : index + 1].copy()
                edited[0, token // 2, token % 2, 0] = code
                image = base.copy()
                window = sheet[height * token :, width * column :][:height, :width]
                image[y : y + height, x : x + width] = window
                np.testing.assert_array_equal(image, decode(edited)[0])


def test_edits_that_would_be_too_large_are_left_out(monkeypatch):
    module = importlib.import_module("vqvae_jax.report.html.sections.code_map")
    for name, left in (("_DECODED", 0), ("_KEPT", 16)):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, left)
            data = json.loads(code_map(whole())["data"])
            assert all(one["changes"] is None for one in data["maps"])


def test_differences_are_of_the_best_evaluations_and_of_settings_alone():
    shown = differences(whole())
    assert shown["settings"] == [("training.learning_rate", ["0.1", "0.2"])]
    assert shown["steps"] == [200, 200]
    assert dict(shown["figures"])["nmse"] == ["1", "1"]


def test_samples_are_shown_by_class_and_guidance():
    images = np.random.RandomState(0).randint(0, 256, (2, 3, 5, 4, 1)).astype(np.uint8)
    report = Report([record()], drawn=Drawn([0, 1], {1.0: images, 2.0: images[::-1]}))
    first, second = samples(report)["sheets"]
    assert (first["guidance"], second["guidance"]) == (1.0, 2.0)
    assert [row["label"] for row in first["rows"]] == [0, 1]
    sheet = pixels(second["rows"][0]["image"])
    np.testing.assert_array_equal(sheet[1:-1, 1:5], images[1, 0, ..., 0])
    assert b"Guidance 2.0" in report_of(report)
