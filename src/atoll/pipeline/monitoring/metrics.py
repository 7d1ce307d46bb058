"""Statistics of pipelines → Prometheus metrics, as text or on a port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from atoll.errors import PipelineError
from atoll.products.stage_stats import StageStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = "127.0.0.1"

Source = Callable[[], Mapping[str, Sequence[StageStats]]]
"""Gives the statistics of each pipeline, by its name."""

_METRICS: tuple[tuple[str, str, str, Callable[[StageStats], float]], ...] = (
    ("inferences_total", "counter", "Items that the stage has done.", lambda s: s.count),
    ("busy_seconds_total", "counter", "Time spent on items.", lambda s: s.total_s),
    ("wait_input_seconds_total", "counter", "Time spent waiting for items.", lambda s: s.wait_input_s),
    ("wait_output_seconds_total", "counter", "Time spent waiting for room behind.", lambda s: s.wait_output_s),
    ("failures_total", "counter", "How often an interpreter raised or hung.", lambda s: s.failures),
    ("retries_total", "counter", "Items that succeeded at a later attempt.", lambda s: s.retries),
    ("busy_ratio", "gauge", "Share of the time since the first item spent on items.", lambda s: s.busy_share),
    ("queue_depth", "gauge", "Items waiting in front of the segment.", lambda s: s.queued),
)
_QUANTILES: tuple[tuple[str, Callable[[StageStats], float]], ...] = (
    ("0.5", lambda s: s.p50_s),
    ("0.95", lambda s: s.p95_s),
    ("0.99", lambda s: s.p99_s),
)


def render(pipelines: Mapping[str, Sequence[StageStats]]) -> str:
    """The text exposition format of Prometheus, one time series per pipeline, segment, replica and metric."""
    rows = [(_labels(name, stage), stage) for name, stages in pipelines.items() for stage in stages]
    lines: list[str] = []
    for name, kind, text, value in _METRICS:
        lines += [f"# HELP atoll_stage_{name} {text}", f"# TYPE atoll_stage_{name} {kind}"]
        lines += [f"atoll_stage_{name}{{{labels}}} {value(stage):.10g}" for labels, stage in rows]
    lines += ["# HELP atoll_stage_duration_seconds Time of one item.", "# TYPE atoll_stage_duration_seconds summary"]
    for labels, stage in rows:
        lines += [
            f'atoll_stage_duration_seconds{{{labels},quantile="{quantile}"}} {value(stage):.10g}'
            for quantile, value in _QUANTILES
        ]
        lines.append(f"atoll_stage_duration_seconds_sum{{{labels}}} {stage.total_s:.10g}")
        lines.append(f"atoll_stage_duration_seconds_count{{{labels}}} {stage.count}")
    return "\n".join(lines) + "\n"


def _labels(pipeline: str, stage: StageStats) -> str:
    values: Iterable[tuple[str, object]] = (
        ("pipeline", pipeline),
        ("segment", stage.segment),
        ("replica", stage.replica),
        ("device", stage.device),
    )
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in values)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Serves ``/metrics`` on 127.0.0.1 until it is closed; port 0 takes a free one (``port`` says which).

    Raises:
        PipelineError: the port is in use, or not allowed.
    """

    def __init__(self, source: Source, port: int = 0) -> None:
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(source))
        except (OSError, OverflowError) as error:
            raise PipelineError(f"cannot serve metrics on port {port}: {error}", "Choose another port.") from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="atoll-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _handler(source: Source) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a client that says nothing does not keep its thread

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "only /metrics is served")
                return
            body = render(source()).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: a scrape every few seconds is no news."""

    return Handler
