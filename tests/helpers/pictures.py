"""Drawn pictures of five classes, which shapes, textures and colours tell apart; each one is different."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES = ("checks", "circles", "noise", "stripes", "triangles")


def draw(kind: str, rng: np.random.Generator, size: int = 224) -> np.ndarray:
    """One picture, uint8 (size, size, 3): random colours around those of its class, place, scale and angle."""
    y, x = np.mgrid[0:size, 0:size] / size
    angle, phase = rng.uniform(-0.3, 0.3), rng.uniform(0, 1, 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "checks":
        scale = rng.uniform(5, 8)
        mask = (np.floor(u * scale + phase[0]) + np.floor(v * scale + phase[1])) % 2 > 0
        colours = (30, 30, 30), (220, 220, 220)
    elif kind == "circles":
        mask = np.zeros_like(x, bool)
        for _ in range(rng.integers(4, 8)):
            cx, cy, radius = *rng.uniform(0.1, 0.9, 2), rng.uniform(0.08, 0.16)
            mask |= (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        colours = (235, 235, 210), (190, 40, 40)
    elif kind == "noise":
        mask = rng.random(x.shape) > 0.5
        colours = (60, 120, 60), (130, 190, 90)
    elif kind == "stripes":
        mask = (u * rng.uniform(10, 16) + phase[0]) % 1 > 0.5
        colours = (240, 200, 40), (30, 60, 160)
    else:
        mask = np.zeros_like(x, bool)
        for _ in range(rng.integers(3, 6)):
            cx, cy, side = *rng.uniform(0.2, 0.8, 2), rng.uniform(0.12, 0.22)
            mask |= (v - cy > -side) & (v - cy < side - 2 * abs(u - cx)) & (abs(u - cx) < side)
        colours = (120, 190, 230), (120, 60, 20)
    shades = np.clip(np.array(colours) + rng.normal(0, 15, (2, 3)), 0, 255)
    image = np.where(mask[..., None], shades[1], shades[0]) + rng.normal(0, 6, (size, size, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def pictures(count: int, seed: int, size: int = 224) -> tuple[list[np.ndarray], list[int]]:
    """``count`` pictures of each class, and their class numbers."""
    rng = np.random.default_rng(seed)
    pairs = [(draw(kind, rng, size), label) for label, kind in enumerate(CLASSES) for _ in range(count)]
    return [image for image, _ in pairs], [label for _, label in pairs]


def write_folder(directory: Path, count: int, seed: int, size: int = 32) -> None:
    """``directory/class/number.png`` for all classes."""
    from PIL import Image

    images, labels = pictures(count, seed, size)
    for number, (image, label) in enumerate(zip(images, labels)):
        folder = directory / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
