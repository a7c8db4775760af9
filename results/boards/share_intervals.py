"""Intervals of shares of images, which near 0 and 1 are not symmetric.

Wilson's interval of a share s of n images contains the shares p from which s is less than c standard errors away, with
the standard error of p itself ::

    (s - p)^2 = c^2 * p * (1 - p) / n

At a true share of .95 of 100 images, the normal interval s ± 1.96 * sqrt(s * (1 - s) / n) covers .877, Wilson's .966.
If the error of s comes from several seeds, n is the number of images that would give it: s * (1 - s) / error^2.

E. B. Wilson, Journal of the American Statistical Association 22 (1927).
"""

from __future__ import annotations

import numpy as np

#: Metrics that are a share of the evaluation images.
SHARES_OF_IMAGES = ("accuracy", "agreement")


def share_at(share: float, n: float, z: np.ndarray) -> np.ndarray:
    """Return the shares p (R,) from which `share` is z (R,) standard errors away; above `share` for positive z.

    Args:
        share: from 0 to 1.
        n: number of images, above 0; it need not be whole.
        z: standard errors, of any sign.
    """
    square = np.square(z) / n
    half = np.sqrt(square * share * (1 - share) + np.square(square) / 4)
    # Rounding must not leave the range, nor move the share itself.
    shares = np.where(z == 0, share, (share + square / 2 + np.sign(z) * half) / (1 + square))
    within: np.ndarray = np.clip(shares, 0.0, 1.0)
    return within


def images_behind(share: float, error: float, n_images: float) -> float:
    """Return the number of images that would give a share its standard error; `n_images` if there is no error.

    A share of 0 or 1 has no spread among its images, though its error is not 0.
    """
    # The square of an error near the smallest number is 0.
    variance, square = share * (1 - share), error**2
    return variance / square if square > 0 and variance > 0 else n_images
