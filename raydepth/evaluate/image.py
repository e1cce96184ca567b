"""RMSE, PSNR and SSIM of 8-bit frames as pure functions.

All functions take uint8 [H,W,3] and return a float. ``mask`` is bool [H,W], True where a pixel
counts. An empty mask gives NaN, "not measured". Identical pictures have an RMSE of 0 and a PSNR of
+inf; shards hold null for both, and the fold counts the inf (``measures.PSNRS``).
"""

import cv2
import numpy as np

PEAK = 255.0


def rmse(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root of the mean squared difference in grey levels 0..255 of valid pixels, all channels."""
    difference = image.astype(np.float32) - reference.astype(np.float32)
    if mask is not None:
        difference = difference[mask]
    if difference.size == 0:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(difference), dtype=np.float64)))


def psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 20 log10(255 / RMSE), over the valid pixels."""
    return _decibels(rmse(image, reference, mask))


def psnr_pie_bench(image: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """PSNR as PIE-Bench's code has it (Ju et al. 2024).

    Invalid pixels are set to 0 in both pictures, and *all* pixels are averaged. It is larger than
    ``psnr`` by 10 log10(pixels / valid pixels), so the two never belong in one table.
    """
    blank = np.zeros_like(image)
    keep = mask[..., None]
    return _decibels(rmse(np.where(keep, image, blank), np.where(keep, reference, blank)))


def _decibels(error: float) -> float:
    return float("inf") if error == 0 else float(20.0 * np.log10(PEAK / error))


def ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004), mean of the channels.

    Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03. It equals
    ``skimage.metrics.structural_similarity`` with those settings, population covariance and
    data_range 255, averaged over positions whose window lies inside the picture. It is three times
    as fast because OpenCV filters in float32. With a mask the mean is over its pixels among those
    positions; their windows reach beyond it. NaN for pictures with a side shorter than the window.
    """
    if min(image.shape[:2]) < 11:
        return float("nan")
    # Shifted to be centred on 0: variances stay the same, and float32 loses fewer digits in E[x^2]
    # - E[x]^2.
    x, y = image.astype(np.float32) - 128, reference.astype(np.float32) - 128

    def window_mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = window_mean(x * x) - mean_x**2
    variance_y = window_mean(y * y) - mean_y**2
    covariance = window_mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 128, mean_y + 128
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    similarity = luminance * structure
    if mask is not None:
        similarity = similarity[mask[5:-5, 5:-5]]
    return float(np.mean(similarity, dtype=np.float64)) if similarity.size else float("nan")
