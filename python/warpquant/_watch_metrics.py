# SPDX-License-Identifier: Apache-2.0
"""What a watch has done, as metrics for Prometheus."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Iterator
from typing import Any

from .errors import ParameterError
from .watch import Watch

__all__ = ["registry", "serve"]

_log = logging.getLogger("warpquant")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def registry(watch: Watch) -> Any:
    """A registry with the metrics of a watch alone; they are read from it when somebody asks.

    Raises
    ------
    ImportError
        If prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    except ImportError:
        raise ImportError("metrics need prometheus-client: pip install 'warpquant[metrics]'") from None

    class Collector:
        def collect(self) -> Iterator[Any]:
            done = watch.counters
            for name, text, value in (
                ("records", "Records used.", done.records),
                ("bars", "Bars that they made.", done.bars),
                ("repeated_prices", "Prices passed over because they were there already.", done.repeated),
                ("state_saves", "States saved.", done.saves),
                ("update_seconds", "Time taken by updates.", done.update_seconds),
            ):
                yield CounterMetricFamily(f"warpquant_watch_{name}", text, value)
            for name, text, counts in (
                ("changes", "Changes told of, by what changed.", done.changes),
                ("bad_lines", "Lines that could not be used.", done.bad),
            ):
                family = CounterMetricFamily(f"warpquant_watch_{name}", text, labels=["reason"])
                for reason, number in dict(counts).items():
                    family.add_metric([reason], number)
                yield family
            family = CounterMetricFamily(
                "warpquant_watch_actions", "Flips that actions were told of.", labels=["op", "reason"]
            )
            waiting = GaugeMetricFamily("warpquant_watch_queue_depth", "Flips that wait to be told of.", labels=["op"])
            for action in watch.actions:
                for reason in ("done", "failed", "dropped"):
                    family.add_metric([action.kind, reason], getattr(action, reason))
                waiting.add_metric([action.kind], action.waiting)
            yield family
            yield waiting
            for name, text, value in (
                ("symbols", "Symbols seen.", len(watch.symbols)),
                ("unfinished_bytes", "Bytes of last lines that have not ended.", watch.unfinished),
                ("last_record_timestamp_seconds", "Time of the newest record, since 1970.", done.last_time / 1e9),
            ):
                yield GaugeMetricFamily(f"warpquant_watch_{name}", text, value)

    own = CollectorRegistry(auto_describe=False)
    own.register(Collector())
    return own


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    page: Any = None


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version = "warpquant"
    timeout = 10

    def do_GET(self) -> None:
        """Two pages: /metrics and /healthz."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.page))  # type: ignore[attr-defined]
        elif path == "/healthz":
            self._answer(200, "text/plain; charset=utf-8", b"ok\n")
        else:
            self._answer(404, "text/plain; charset=utf-8", b"/metrics and /healthz are here\n")

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests go to the log of the package."""
        _log.debug("metrics: %s", format % args)


def serve(watch: Watch, port: int, bind: str = "127.0.0.1") -> _Server:
    """Serve the metrics of a watch from a thread, until `shutdown` is called on what is returned.

    Raises
    ------
    ImportError
        If prometheus-client is not installed.
    ParameterError
        If the address cannot be used.
    """
    page = registry(watch)
    try:
        server = _Server((bind, port), _Handler)
    except (OSError, OverflowError) as error:
        raise ParameterError(f"metrics_bind: {bind}:{port} cannot be used: {error}") from None
    server.page = page
    if bind not in _LOOPBACK:
        _log.warning("metrics are served on %s: whoever reaches this machine can read them", bind)
    threading.Thread(target=server.serve_forever, name="warpquant-metrics", daemon=True).start()
    return server
