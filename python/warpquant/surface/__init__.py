# SPDX-License-Identifier: Apache-2.0
"""Implied-volatility surfaces: closed forms, fits, proofs of no arbitrage (docs/surface)."""

from .bands import BAND_METHODS, Bands
from .choice import CANDIDATES, Choice, SabrSlice, choose
from .essvi import EssviFit, SsviFit, essvi_to_svi, fit_essvi, fit_ssvi
from .fits import (
    CERTIFICATE_STATUS,
    FIT_STATUS,
    SABR_FIT_STATUS,
    Certificate,
    Crossings,
    SabrFit,
    SviFit,
    certify_svi,
    fit_sabr,
    fit_svi,
    svi_crossings,
    vega_weights,
)
from .heston import HESTON_FIT_STATUS, HestonFit, fit_heston
from .history import History
from .kriging import Kriging, krige
from .mixture import MIXTURE_STATUS, Mixture, MixtureFit, fit_mixture
from .models import CONVERSION_STATUS, SABR_STATUS, dupire, sabr, ssvi, ssvi_power, svi, svi_convert
from .objects import Check, Surface
from .quotes import REASONS, Quotes, clean
from .repair import ARBITRAGES, Repair, repair
from .sabr_pde import SabrDensity, sabr_density, sabr_floor
from .splines import KINDS, Curve, PriceSmile, Slice, Smile, interpolate, rbf, smile, smooth_prices
from .stream import STREAM_STATUS, Stream

__all__ = [
    "ARBITRAGES",
    "BAND_METHODS",
    "CANDIDATES",
    "CERTIFICATE_STATUS",
    "CONVERSION_STATUS",
    "FIT_STATUS",
    "HESTON_FIT_STATUS",
    "KINDS",
    "MIXTURE_STATUS",
    "REASONS",
    "SABR_FIT_STATUS",
    "SABR_STATUS",
    "STREAM_STATUS",
    "Bands",
    "Certificate",
    "Check",
    "Choice",
    "Crossings",
    "Curve",
    "EssviFit",
    "HestonFit",
    "History",
    "Kriging",
    "Mixture",
    "MixtureFit",
    "PriceSmile",
    "Quotes",
    "Repair",
    "SabrDensity",
    "SabrFit",
    "SabrSlice",
    "Slice",
    "Smile",
    "SsviFit",
    "Stream",
    "Surface",
    "SviFit",
    "certify_svi",
    "choose",
    "clean",
    "dupire",
    "essvi_to_svi",
    "fit_essvi",
    "fit_heston",
    "fit_mixture",
    "fit_sabr",
    "fit_ssvi",
    "fit_svi",
    "interpolate",
    "krige",
    "rbf",
    "repair",
    "sabr",
    "sabr_density",
    "sabr_floor",
    "smile",
    "smooth_prices",
    "ssvi",
    "ssvi_power",
    "svi",
    "svi_convert",
    "svi_crossings",
    "vega_weights",
]
