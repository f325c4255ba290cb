"""Writes the pictures on the page ``simulate-catalogue.md``: one item of each shelf, and figures with what they wear."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.pictures.figures import dress, figures
from aisle.simulate.pictures.garments import garment
from aisle.simulate.pictures.raster import batch, drawn, png_of
from aisle.simulate.pictures.scene import Scene
from aisle.simulate.pictures.surfaces import PATTERNS
from aisle.simulate.world import World

FOLDER = Path(__file__).parent / "images"
WORN = ("tee", "trousers", "dress", "jacket", "skirt", "hoodie", "shorts", "sweater")
COLOURS = ("#3a6fb7", "#4e3426", "#c8393b", "#4f9a5b", "#7a56a5", "#e58a3a", "#22355c", "#c89b2f")
GROUND = "#f6f3ee"


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """uint8[H, W, 3] of uint8[N, S, S, 3], row by row."""
    count, size = images.shape[:2]
    whole = images[: count // columns * columns].reshape(-1, columns, size, size, 3)
    return whole.transpose(0, 2, 1, 3, 4).reshape(-1, columns * size, 3)


def one_of_each_shelf(world: World) -> np.ndarray:
    """The best photographed item of each shelf, 11 a line."""
    rows = [
        int(max(np.flatnonzero(world.truth.leaf == n), key=lambda r: world.truth.photo[r])) for n in range(len(LEAVES))
    ]
    return grid(batch(world.items.take(rows).to_pylist(), 96), 11)


def worn(count: int = 8, size: int = 160) -> np.ndarray:
    """Figures in garments, carried there from their flat pictures."""
    images = []
    for n, wearer in enumerate(figures(count, 1)):
        cloth = garment(WORN[n % len(WORN)], n % 3, 37 * n % 256)
        pattern = (PATTERNS["striped"], None, PATTERNS["checked"])[n % 3]
        scene = Scene(cloth.marks, COLOURS[n % len(COLOURS)], "#2b2b30", pattern, (), (), (), GROUND, 1.0)
        flat = drawn(scene, 2 * size)
        image = drawn(Scene(wearer.marks, GROUND, GROUND, None, (), (), (), GROUND, 1.0), size).copy()
        place, seen = dress(wearer, cloth).texture(size)
        column, row = np.minimum((place[seen] * 2 * size).astype(int), 2 * size - 1).T
        image[seen] = flat[row, column]
        images.append(image)
    return grid(np.stack(images), count)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "contact-sheet.png").write_bytes(png_of(one_of_each_shelf(World.make(8000, 0))))
    (FOLDER / "figures.png").write_bytes(png_of(worn()))


if __name__ == "__main__":
    main()
