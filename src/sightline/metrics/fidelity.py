"""fidelity: how near a picture is to the one it should be: PSNR and SSIM on luma, as the literature reports them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError

WINDOW, SIGMA = 11, 1.5
"""Pixels and deviation of the window over which structure is compared (Wang et al., 2004)."""
_STEADY = (0.01**2, 0.03**2)
_LUMA, _BLACK = np.array([65.481, 128.553, 24.966]) / 255, 16 / 255
"""ITU-R BT.601 luma of studio range, as MATLAB's rgb2ycbcr and the literature on super-resolution have it."""


def luma(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """(H, W, 3) in [0, 1] → luma (H, W) from 16/255 to 235/255; grey (H, W, 1) stays as it is.

    >>> luma(np.ones((1, 1, 3))).round(4).tolist()
    [[0.9216]]
    """
    if pixels.shape[-1] == 1:
        return np.asarray(pixels[..., 0], np.float64)
    return np.asarray(_BLACK + pixels.astype(np.float64) @ _LUMA, np.float64)


def psnr(found: NDArray[Any], truth: NDArray[Any], *, border: int = 0, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio on luma in dB, for values in [0, 1]; inf where nothing differs.

    found, truth: (H, W, 1 or 3). border: pixels that are left out on each side, by custom as many as the scale.
    where: (H, W), the pixels that are compared, one or more; None: all. Raises DataError for pictures of unlike or too
    small sizes.

    >>> round(psnr(np.full((4, 4, 1), 0.5), np.full((4, 4, 1), 0.6)), 3)
    20.0
    """
    a, b = _inner(found, truth, border, 1)
    error = float(((a - b) ** 2).mean() if where is None else ((a - b) ** 2)[where].mean())
    return float(-10 * np.log10(error)) if error else float("inf")


def ssim(found: NDArray[Any], truth: NDArray[Any], *, border: int = 0, where: NDArray[np.bool_] | None = None) -> float:
    """Mean structural similarity on luma (Wang et al., 2004), in [-1, 1], for values in [0, 1].

    Gaussian windows of 11 x 11 that lie wholly inside; with `where`, those around its pixels, beyond the border of the
    picture on its mirror image. Arguments and errors as for `psnr`.

    >>> ssim(np.eye(16)[..., None], np.eye(16)[..., None])
    1.0
    """
    a, b = _inner(found, truth, border, WINDOW if where is None else 1)
    if where is not None:
        near = _near(where)
        where = where[near]
        a, b = (np.pad(each[near], WINDOW // 2, mode="symmetric") for each in (a, b))
    mean_a, mean_b = _mean(a), _mean(b)
    vary_a, vary_b, both = _mean(a * a) - mean_a**2, _mean(b * b) - mean_b**2, _mean(a * b) - mean_a * mean_b
    tone = (2 * mean_a * mean_b + _STEADY[0]) / (mean_a**2 + mean_b**2 + _STEADY[0])
    alike = tone * (2 * both + _STEADY[1]) / (vary_a + vary_b + _STEADY[1])
    return float(alike.mean() if where is None else alike[where].mean())


def _near(where: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of a picture in which all windows around some pixels lie, as far as the picture goes."""
    lines = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, each[0] - WINDOW // 2), each[-1] + WINDOW // 2 + 1) for each in lines)
    return rows, columns


def _inner(
    found: NDArray[Any], truth: NDArray[Any], border: int, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if found.shape != truth.shape or found.ndim != 3:
        raise DataError(f"pictures of unlike sizes cannot be compared: {found.shape} and {truth.shape}")
    height, width = found.shape[:2]
    if min(height, width) - 2 * border < least:
        raise DataError(f"{width} x {height} pixels without a border of {border} are fewer than {least} each way")
    inside = slice(border, height - border), slice(border, width - border)
    return luma(found[inside]), luma(truth[inside])


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Under the window, (H - 10, W - 10)."""
    window = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    window /= window.sum()
    for _ in range(2):  # along one axis and, turned, along the other
        values = np.tensordot(window, np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=0), (0, 2)).T
    return values
