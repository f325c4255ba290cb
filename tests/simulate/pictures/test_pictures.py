"""Pictures show what an item is, are valid drawings, and come out the same as SVG and as pixels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.catalogue.appearance import ADDRESS, addresses, read
from aisle.simulate.catalogue.items import make_items
from aisle.simulate.catalogue.taxonomy import CODE, HEX, LEAVES, PATTERNS, TEXTS
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.knobs import Knobs
from aisle.simulate.pictures.garments import KINDS, garment
from aisle.simulate.pictures.marks import coverage, outlines, oval, stroked
from aisle.simulate.pictures.raster import batch, drawn, pixels, png
from aisle.simulate.pictures.scene import contact_sheet, landmarks, picture, picture_of, rgb, scene_of, shows

TEE = "Clothing > Tops > T-Shirts"


@pytest.fixture(scope="module")
def shop() -> tuple[list[dict], Truth]:
    table, truth = make_items(600, 1, Knobs())
    return table.to_pylist(), truth


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.shelf)
def test_every_shelf_is_drawn_in_its_colour(leaf) -> None:
    svg = picture(leaf.path, {"colour": "navy"})
    ElementTree.fromstring(svg)
    assert HEX["navy"] in svg
    assert svg != picture(leaf.path, {"colour": "coral"})


def test_patterns_and_materials_differ() -> None:
    drawn = {p: picture(TEE, {"colour": "red", "pattern": p}) for p in PATTERNS}
    assert len(set(drawn.values())) == len(PATTERNS)
    assert "<pattern" not in drawn["plain"]
    assert all("<pattern" in svg for p, svg in drawn.items() if p != "plain")
    woods = {
        w: picture("Home > Furniture > Desks", {"colour": "white", "material": w}) for w in ("oak", "walnut", "steel")
    }
    assert len(set(woods.values())) == 3


def test_a_picture_is_a_function_of_its_address(shop) -> None:
    rows, _ = shop
    for row in rows[:100]:
        ElementTree.fromstring(picture_of(row))
        bare = {"item_id": "x", "images": row["images"], "attributes": None, "category": None}
        assert picture_of(bare) == picture_of(row)


def test_an_address_holds_the_truth_and_cannot_be_read_off_its_digits(shop) -> None:
    rows, truth = shop
    for i, address in enumerate(addresses(truth).to_pylist()):
        seen = read(address)
        assert rows[i]["images"] == [address]
        assert seen is not None
        assert seen.leaf == truth.leaf[i]
        assert abs(seen.photo / 63 - truth.photo[i]) < 0.01
        material = truth.texts["material"][i]
        assert seen.material == (material if material >= 0 else len(TEXTS))
    digits = np.array([list(row["images"][0].removeprefix(ADDRESS)) for row in rows])
    common = np.bincount(truth.leaf).argmax()
    assert all(len(set(digits[truth.leaf == common][:, d])) > 5 for d in range(16))
    for other in ("aisle-picture:p1", "http://x/y.png", "", ADDRESS + "g" * 16, ADDRESS + "f" * 16):
        assert read(other) is None


def test_variants_share_a_picture_unless_they_differ_to_the_eye(shop) -> None:
    rows, truth = shop
    for group in range(600):
        members = np.flatnonzero(truth.group == group)
        shelf = LEAVES[truth.leaf[members[0]]] if len(members) > 1 else None
        if shelf is not None and shelf.variant in ("size", "colour"):
            pictures = {picture_of(rows[m]) for m in members}
            assert len(pictures) == (1 if shelf.variant == "size" else len(members))


def test_pixels_show_the_true_colour_even_where_the_seller_errs(shop) -> None:
    rows, truth = shop
    sofa = next(n for n, leaf in enumerate(LEAVES) if leaf.shelf == "T-Shirts")
    for i in np.flatnonzero(truth.leaf == sofa)[:6]:
        scene = replace(scene_of(rows[i]), pattern=None, textures=(), before=())
        middle = drawn(scene, 64)[30:40, 28:36].reshape(-1, 3).mean(axis=0)
        wanted = rgb(HEX[TEXTS[truth.texts["colour"][i]]])
        assert np.abs(middle - wanted).max() < 12
    assert CODE["navy"] in set(truth.texts["colour"].tolist())


def test_both_ways_of_drawing_use_one_geometry() -> None:
    (mark,) = oval(100, 100, 50, 50)
    ((points, closed),) = outlines(mark.path)
    assert closed
    assert np.abs(np.hypot(*(points - 100).T) - 50).max() < 0.3
    disc = coverage([points], 200)
    assert abs(disc.sum() - np.pi * 50**2) < 20
    assert disc[100, 100] == 1
    assert disc[2, 2] == 0
    square = np.array([[10.25, 10], [20, 10], [20, 20], [10.25, 20]])
    assert coverage([square], 32)[15, 10] == pytest.approx(0.75)
    assert coverage([square[::-1]], 32).sum() == pytest.approx(97.5, rel=1e-3)
    line = coverage(stroked(np.array([[10.0, 50], [90, 50]]), False, 10), 100)
    assert abs(line.sum() - (800 + np.pi * 25)) < 8
    with pytest.raises(ValueError, match="not 'C'"):
        outlines("M0 0 C1 1 2 2 3 3")


def test_png_files_hold_the_pixels(shop) -> None:
    rows, _ = shop
    data = png(rows[3], 32)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (32, 32)
    start = data.index(b"IDAT")
    length = struct.unpack(">I", data[start - 4 : start])[0]
    lines = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8).reshape(32, 97)
    assert (lines[:, 0] == 0).all()
    assert np.array_equal(lines[:, 1:].reshape(32, 32, 3), pixels(rows[3], 32))
    pictures = batch(rows[:40], 32)
    assert pictures.shape == (40, 32, 32, 3)
    assert np.array_equal(pictures[7], pixels(rows[7], 32))
    assert batch([], 32).shape == (0, 32, 32, 3)
    with pytest.raises(SettingError, match="give 8 to"):
        pixels(rows[0], 4)


def test_a_better_photograph_is_larger_and_brighter(shop) -> None:
    _, truth = shop
    good, poor = (addresses(replace(truth, photo=np.full_like(truth.photo, q))).to_pylist() for q in (1.0, 0.0))
    brighter = [
        pixels({"images": [g]}, 32).mean() > pixels({"images": [p]}, 32).mean() + 10
        for g, p in zip(good[:40], poor, strict=False)
    ]
    assert np.mean(brighter) == 1.0
    assert all(
        scene_of({"images": [g]}).zoom >= scene_of({"images": [p]}).zoom for g, p in zip(good[:40], poor, strict=False)
    )


def test_what_a_picture_shows_makes_a_difference_and_what_it_does_not_makes_none(shop) -> None:
    _, truth = shop
    names = {n: shows(leaf) for n, leaf in enumerate(LEAVES)}
    assert all("colour" in seen or "colour" not in LEAVES[n].kinds for n, seen in names.items())
    rows = np.arange(300)
    some = truth.take(rows)
    plain = addresses(some).to_pylist()
    for name in ("style", "finish", "flavour", "connection", "diet", "skin type"):
        codes = some.texts[name]
        values = np.unique(codes[codes >= 0])
        other = np.where(codes >= 0, values[(np.searchsorted(values, codes) + 1) % len(values)], -1).astype(np.int16)
        changed = addresses(replace(some, texts={**some.texts, name: other})).to_pylist()
        for i in rows[codes >= 0]:
            assert (changed[i] != plain[i]) == (name in names[int(some.leaf[i])]), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_outline_of_a_garment_runs_through_its_control_points(kind: str) -> None:
    for cut, variation in ((0, 0), (1, 77), (2, 255)):
        cloth = garment(kind, cut, variation)
        names, xy = cloth.control_points()
        assert len(names) == len(set(names)) >= 6
        assert xy.shape == (len(names), 2)
        assert (xy > 0).all()
        assert (xy < 1).all()
        covered = coverage([p for p, _ in outlines(cloth.outline)], 200)
        for name, (x, y) in cloth.points.items():
            near = covered[max(int(y) - 4, 0) : int(y) + 5, max(int(x) - 9, 0) : int(x) + 10]
            assert near.max() > 0, f"{name} of {kind} is off the garment"
        mirrored = {n.replace("left", "L").replace("right", "left").replace("L", "right") for n in names}
        assert mirrored == set(names)
    wide, narrow = garment(kind, 2, 0), garment(kind, 0, 0)
    area = [coverage([p for p, _ in outlines(g.outline)], 100).sum() for g in (narrow, wide)]
    assert area[1] > area[0] or kind in ("skirt", "dress", "swimsuit")


def test_landmarks_lie_on_the_garment_in_the_picture(shop) -> None:
    rows, truth = shop
    worn = 0
    for i in range(300):
        names, xy = landmarks(rows[i])
        assert (len(names) > 0) == (LEAVES[truth.leaf[i]].shape in KINDS)
        if not names:
            continue
        worn += 1
        scene = scene_of(rows[i])
        bare = drawn(replace(scene, marks=()), 100)
        with_garment = drawn(scene, 100)
        changed = np.abs(with_garment.astype(int) - bare).sum(axis=2) > 0
        for name, (x, y) in zip(names, xy, strict=True):
            column, row = int(100 * x), int(100 * y)
            assert changed[max(row - 3, 0) : row + 4, max(column - 5, 0) : column + 6].any(), name
    assert worn > 20


def test_rows_of_other_shops_are_drawn_too() -> None:
    for row in ({"item_id": "a"}, {"item_id": "b", "category": ["Clothing > Hats"], "attributes": None}):
        ElementTree.fromstring(picture_of(row))
    odd = {"item_id": "<&>", "category": ["A & B > <x>"], "attributes": [{"name": "colour", "text": '"/><script>'}]}
    assert "script" not in picture_of(odd)
    ElementTree.fromstring(picture_of(odd))


def test_a_contact_sheet_holds_every_picture(shop) -> None:
    rows, _ = shop
    sheet = ElementTree.fromstring(contact_sheet(rows[:23], 10))
    assert len(sheet.findall("{http://www.w3.org/2000/svg}svg")) == 23
