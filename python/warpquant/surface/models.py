# SPDX-License-Identifier: Apache-2.0
"""Closed forms: SVI, SSVI, SABR and Dupire's local volatility (docs/surface/models.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _checks, _rows
from warpquant.errors import ParameterError
from warpquant.options._product import Product

__all__ = ["CONVERSION_STATUS", "SABR_STATUS", "dupire", "sabr", "ssvi", "ssvi_power", "svi", "svi_convert"]

#: What the codes of `svi_convert` mean, by code.
CONVERSION_STATUS = ("ok", "outside the domain", "no such slice", "not determined by these parameters")
#: What the codes of `sabr` mean, by code.
SABR_STATUS = ("ok", "invalid input", "forward or strike at or below minus the shift", "negative volatility")

_SVI, _SSVI, _POWER, _DUPIRE = (Product(name) for name in ("svi", "ssvi", "ssvi_power", "dupire"))
_SABR = {variant: Product(f"sabr_{variant}") for variant in ("hagan", "obloj", "normal")}
_FORMS = {
    "raw": ("a", "b", "rho", "m", "sigma"),
    "natural": ("delta", "mu", "rho", "omega", "zeta"),
    "jump_wings": ("v", "psi", "p", "c", "vt"),
}
_CONVERSIONS = {
    (one, other): _rows.Outputs(f"svi_{one}_to_{other}")
    for one, other in (("raw", "natural"), ("natural", "raw"), ("raw", "jump_wings"), ("jump_wings", "raw"))
}


def svi(
    k: Any, a: Any, b: Any, rho: Any, m: Any, sigma: Any, *, outputs: str | Iterable[str] = ("w",),
    out: Mapping[str, Any] | None = None, num_threads: int | None = None, device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Raw SVI: w = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)).

    Parameters
    ----------
    k : float or array
        ln(strike / forward). All arguments broadcast.
    a, b, rho, m, sigma : float or array
        Parameters. They are taken as they are: a negative w gives what the formulas say, or NaN.
    outputs : str or tuple of str
        Of 'w' (total variance, vol^2 T), 'dw', 'd2w' (by k), 'g' (the density of ln(S / forward) in units of the one
        with constant variance w; negative where there is butterfly arbitrage), 'density' (of ln(S / forward)), and the
        derivatives of w 'dw_da', 'dw_db', 'dw_drho', 'dw_dm', 'dw_dsigma'; or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result.

    Raises
    ------
    ParameterError
        If an output is unknown.
    ShapeError
        If arguments do not broadcast.

    Examples
    --------
    >>> from warpquant import surface
    >>> slice = surface.svi(0.1, -0.041, 0.1331, 0.306, 0.3586, 0.4153, outputs=("w", "g"))
    >>> round(slice["w"], 8), round(slice["g"], 8)
    (0.01358438, 1.31179364)
    """
    return _SVI((k, a, b, rho, m, sigma), outputs, out, num_threads, device, stream)


def svi_convert(
    parameters: Any, source: str, target: str, *, expiry: Any = None, num_threads: int | None = None,
    device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """SVI parameters of one form as those of another.

    Parameters
    ----------
    parameters : sequence of five, or mapping
        Numbers or arrays, which broadcast. 'raw': a, b, rho, m, sigma; 'natural': delta, mu, rho, omega, zeta;
        'jump_wings': v, psi, p, c, vt.
    source, target : {'raw', 'natural', 'jump_wings'}
        Their form, and the one wanted.
    expiry : float or array, optional
        Years; needed by jump-wings, which are variances per year.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Parameter to value, and 'status': 0 converted; 1 outside the domain, such as ``abs(rho) >= 1`` or a negative
        least variance; 2 no slice has these jump-wings; 3 jump-wings that leave the slice open, which they do where the
        money is at its least variance (psi = 0). Parameters are NaN where the status is not 0. `CONVERSION_STATUS` has
        them in words.

    Raises
    ------
    ParameterError
        If a form is unknown, or the expiry is missing.

    Examples
    --------
    >>> from warpquant import surface
    >>> wings = surface.svi_convert((-0.041, 0.1331, 0.306, 0.3586, 0.4153), "raw", "jump_wings", expiry=1.0)
    >>> {name: round(value, 8) for name, value in wings.items()}
    {'v': 0.01742625, 'psi': -0.17521114, 'p': 0.6997381, 'c': 1.31679822, 'vt': 0.0116249, 'status': 0}
    """
    for name, form in (("source", source), ("target", target)):
        _checks.choice(name, form, _FORMS)
    if source == target:
        raise ParameterError(f"target: is {target!r}, as the source is")
    if "jump_wings" in (source, target) and expiry is None:
        raise ParameterError("expiry: is needed for jump-wings, which are variances per year")
    names = _FORMS[source]
    if isinstance(parameters, Mapping):
        missing = [name for name in names if name not in parameters]
        if missing:
            raise ParameterError(
                f"parameters: {', '.join(missing)} missing; {source} parameters are {', '.join(names)}"
            )
        values = tuple(parameters[name] for name in names)
    else:
        values = tuple(parameters)
        if len(values) != len(names):
            raise ParameterError(f"parameters: has {len(values)} entries; accepted are the five {', '.join(names)}")
    if "raw" not in (source, target):
        raw = svi_convert(values, source, "raw", expiry=expiry, num_threads=num_threads, device=device, stream=stream)
        made = svi_convert(
            [raw[name] for name in _FORMS["raw"]], "raw", target, expiry=expiry, num_threads=num_threads, device=device,
            stream=stream,
        )  # fmt: skip
        first, second = raw["status"], made["status"]
        made["status"] = first + second * (first == 0)
        return made
    outputs = _CONVERSIONS[source, target]
    if "jump_wings" in (source, target):
        values = (*values, expiry)
    return _rows.call(f"svi_{source}_to_{target}", values, outputs, outputs.names, num_threads=num_threads,
                      device=device, stream=stream)  # fmt: skip


def ssvi(
    k: Any, theta: Any, rho: Any, phi: Any, *, dtheta_dt: Any = 0.0, dpsi_dt: Any = 0.0, dchi_dt: Any = 0.0,
    outputs: str | Iterable[str] = ("w",), out: Mapping[str, Any] | None = None, num_threads: int | None = None,
    device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """A slice of SSVI: w = theta / 2 (1 + rho phi k + sqrt((phi k + rho)^2 + 1 - rho^2)).

    Parameters
    ----------
    k : float or array
        ln(strike / forward). All arguments broadcast.
    theta : float or array
        At-the-money total variance.
    rho, phi : float or array
        Tilt and curvature.
    dtheta_dt, dpsi_dt, dchi_dt : float or array
        What theta, psi = theta phi and chi = rho psi change by in a year, for 'dw_dt' and 'local_variance'.
    outputs : str or tuple of str
        Of 'w', 'dw', 'd2w', 'g', 'density' as in :func:`svi`, 'dw_dt', 'local_variance' (dw_dt / g), and the
        derivatives of w 'dw_dtheta', 'dw_dpsi', 'dw_dchi'; or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result.

    Raises
    ------
    ParameterError
        If an output is unknown.
    ShapeError
        If arguments do not broadcast.

    Examples
    --------
    >>> from warpquant import surface
    >>> round(surface.ssvi(-0.2, 0.04, -0.7, 4.0)["w"], 8)
    0.0644265
    """
    psi = theta * phi
    arguments = (k, theta, psi, rho * psi, dtheta_dt, dpsi_dt, dchi_dt)
    return _SSVI(arguments, outputs, out, num_threads, device, stream)


def ssvi_power(
    k: Any, expiry: Any, v0: Any, vinf: Any, kappa: Any, rho: Any, eta: Any, gamma: Any, *,
    outputs: str | Iterable[str] = ("w",), out: Mapping[str, Any] | None = None, num_threads: int | None = None,
    device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """An SSVI surface whose variance reverts to its mean, and its local variance in closed form.

    theta(T) = vinf T + (v0 - vinf) (1 - exp(-kappa T)) / kappa and phi = eta / (theta^gamma (1 + theta)^(1 - gamma)),
    free of arbitrage for ``eta (1 + abs(rho)) <= 2`` and gamma in (0, 1/2].

    Parameters
    ----------
    k, expiry : float or array
        ln(strike / forward) and years. All arguments broadcast.
    v0, vinf, kappa : float or array
        Variance now, its mean and the speed of its return; kappa may be 0.
    rho, eta, gamma : float or array
        Of phi.
    outputs : str or tuple of str
        Of 'w', 'dw', 'd2w', 'g', 'density', 'dw_dt', 'local_variance', 'theta', 'phi'; or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result; NaN at expiry 0, where SSVI with this phi has no volatility but at the money.

    Raises
    ------
    ParameterError
        If an output is unknown.
    ShapeError
        If arguments do not broadcast.

    Examples
    --------
    >>> from warpquant import surface
    >>> made = surface.ssvi_power(0.1, 0.5, 0.04, 0.06, 1.5, -0.6, 1.0, 0.4, outputs=("w", "local_variance"))
    >>> round(made["w"], 8), round(made["local_variance"], 8)
    (0.01776134, 0.03162065)
    """
    return _POWER((k, expiry, v0, vinf, kappa, rho, eta, gamma), outputs, out, num_threads, device, stream)


def dupire(
    k: Any, w: Any, dw: Any, d2w: Any, dw_dt: Any, *, outputs: str | Iterable[str] = ("local_variance",),
    out: Mapping[str, Any] | None = None, num_threads: int | None = None, device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Dupire's local variance (dw / dT) / g of any surface, from its total variance and derivatives.

    Parameters
    ----------
    k : float or array
        ln(strike / forward). All arguments broadcast.
    w, dw, d2w : float or array
        Total variance and its first two derivatives by k, the expiry fixed.
    dw_dt : float or array
        Its derivative by the expiry, k fixed.
    outputs : str or tuple of str
        Of 'local_variance', 'g', 'status'; or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result. Status: 0 found; 1 total variance falls in time; 2 g <= 0, a butterfly arbitrage; 3 no
        variance. The local variance is NaN where the status is not 0: nothing is floored.

    Examples
    --------
    >>> from warpquant import surface
    >>> surface.dupire(0.0, 0.04, 0.0, 0.0, 0.05)
    {'local_variance': 0.05}
    """
    return _DUPIRE((k, w, dw, d2w, dw_dt), outputs, out, num_threads, device, stream)


def sabr(
    forward: Any, strike: Any, expiry: Any, alpha: Any, beta: Any, rho: Any, nu: Any, *, variant: str = "hagan",
    shift: Any = 0.0, outputs: str | Iterable[str] = ("vol",), out: Mapping[str, Any] | None = None,
    num_threads: int | None = None, device: str | None = None, stream: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """SABR's volatility by its expansions in time: dF = alpha F^beta dW, dalpha = nu alpha dZ, dW dZ = rho dt.

    Parameters
    ----------
    forward, strike, expiry : float or array
        Forward price, strike and years. All arguments broadcast.
    alpha, beta, rho, nu : float or array
        alpha > 0, 0 <= beta <= 1, -1 < rho < 1, nu >= 0.
    variant : {'hagan', 'obloj', 'normal'}
        Hagan and others (2002) for Black's formula; with the leading term of Obloj (2008); Hagan's for Bachelier's
        formula, in units of price.
    shift : float or array
        Added to forward and strike, for rates below 0.
    outputs : str or tuple of str
        Of 'vol', 'status' and the derivatives 'dvol_dforward', 'dvol_dstrike', 'd2vol_dstrike2', 'dvol_dexpiry',
        'dvol_dalpha', 'dvol_drho', 'dvol_dnu'; or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result. Status: 0 found; 1 invalid input; 2 forward or strike plus shift is not above 0; 3 the
        expansion has left its range and is negative. Rows of a status other than 0 are NaN. `SABR_STATUS` has them in
        words.

    Raises
    ------
    ParameterError
        If the variant or an output is unknown.
    ShapeError
        If arguments do not broadcast.

    Notes
    -----
    The expansions are for small nu^2 T. At low strikes their density may be negative; :func:`sabr_floor` says from
    where on, and :func:`sabr_density` has a density that is not.

    Examples
    --------
    >>> from warpquant import surface
    >>> round(surface.sabr(0.03, 0.035, 5.0, 0.03, 0.5, -0.3, 0.4)["vol"], 8)
    0.16853673
    """
    _checks.choice("variant", variant, _SABR)
    arguments = (forward, strike, expiry, alpha, beta, rho, nu, shift)
    return _SABR[variant](arguments, outputs, out, num_threads, device, stream)
