# SPDX-License-Identifier: Apache-2.0
"""Implied-volatility surfaces: closed forms, fits, proofs of no arbitrage (docs/surface)."""

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
from .models import CONVERSION_STATUS, SABR_STATUS, dupire, sabr, ssvi, ssvi_power, svi, svi_convert
from .objects import Check, History, Surface
from .quotes import REASONS, Quotes, clean
from .sabr_pde import SabrDensity, sabr_density, sabr_floor
from .stream import STREAM_STATUS, Stream

__all__ = [
    "CERTIFICATE_STATUS",
    "CONVERSION_STATUS",
    "FIT_STATUS",
    "HESTON_FIT_STATUS",
    "REASONS",
    "SABR_FIT_STATUS",
    "SABR_STATUS",
    "STREAM_STATUS",
    "Certificate",
    "Check",
    "Crossings",
    "EssviFit",
    "HestonFit",
    "History",
    "Quotes",
    "SabrDensity",
    "SabrFit",
    "SsviFit",
    "Stream",
    "Surface",
    "SviFit",
    "certify_svi",
    "clean",
    "dupire",
    "essvi_to_svi",
    "fit_essvi",
    "fit_heston",
    "fit_sabr",
    "fit_ssvi",
    "fit_svi",
    "sabr",
    "sabr_density",
    "sabr_floor",
    "ssvi",
    "ssvi_power",
    "svi",
    "svi_convert",
    "svi_crossings",
    "vega_weights",
]
