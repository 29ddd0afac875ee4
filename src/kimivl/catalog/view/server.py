"""The local server of `kimivl data view`.

What it is: routes, and what keeps a page of untrusted data harmless: it listens on 127.0.0.1 only, answers to its own name only
(so that a foreign site whose name is turned to this address reads nothing), knows sources, rows and pictures by number only,
and sends a policy by which browsers load nothing from elsewhere.
What it is not: what the pages say.
"""

import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from kimivl.catalog.view.context import NotThere, View, pack_address
from kimivl.catalog.view.listing import listing
from kimivl.catalog.view.markup import Markup
from kimivl.catalog.view.overview import figures_fragment, overview
from kimivl.catalog.view.packs import packs_page
from kimivl.catalog.view.page import POLICY, fault, page
from kimivl.catalog.view.pictures import drawn
from kimivl.catalog.view.sample import as_seen, sample_page

HOST = "127.0.0.1"
SIDES = (16, 2048)  # pixels, the least and the most of a picture's longer side that are served
QUERY = 200  # characters that are searched for

Query = dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What is sent. `location`: where else to go."""

    body: bytes
    media_type: str = "text/html; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None
    kept: bool = False  # a browser may keep it for a while


class BadQuery(ValueError):
    """An address whose values are none."""


class ViewServer(ThreadingHTTPServer):
    """Serves `view` on 127.0.0.1. `port` 0 takes a free one. Raises: OSError if the port is taken."""

    daemon_threads = True

    def __init__(self, view: View, port: int = 0):
        self.view = view
        super().__init__((HOST, port), _Handler)
        self.names = {f"{host}:{self.server_port}" for host in (HOST, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "kimivl"
    sys_version = ""
    timeout = 30  # seconds a silent connection is kept

    def do_GET(self) -> None:
        self._send(self._reply())

    def do_HEAD(self) -> None:
        self._send(self._reply())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the terminal belongs to who started it."""

    def _reply(self) -> Reply:
        if self.headers.get("Host") not in self.server.names:
            return _plain(HTTPStatus.FORBIDDEN, f"This page answers to {self.server.address} only.")
        try:
            return answer(self.server.view, self.path)
        except NotThere as reason:
            return _sorry(HTTPStatus.NOT_FOUND, "Not there", str(reason))
        except BadQuery as reason:
            return _sorry(HTTPStatus.BAD_REQUEST, "No such address", str(reason))
        except (ValueError, OSError) as reason:
            return _sorry(HTTPStatus.UNPROCESSABLE_ENTITY, "These data cannot be shown", str(reason))
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return _sorry(
                HTTPStatus.INTERNAL_SERVER_ERROR, "A fault of this page", "The terminal it runs in shows what happened."
            )

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {
            "Content-Type": reply.media_type,
            "Content-Length": str(len(reply.body)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "private, max-age=300" if reply.kept else "no-store",
        }
        for name, value in (headers | ({"Location": reply.location} if reply.location else {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(reply.body)
            except ConnectionError:  # the browser went on to another page
                self.close_connection = True


def answer(view: View, target: str) -> Reply:
    """What a path with its query gets. Raises: NotThere, BadQuery; ValueError or OSError for data that cannot be shown."""
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    for pattern, handle in ROUTES:
        if found := pattern.fullmatch(url.path):
            return handle(view, [int(number) for number in found.groups()], query)
    raise NotThere("there is no such page; the overview is at /")


def _overview(view: View, numbers: list[int], query: Query) -> Reply:
    return _html(overview(view))


def _figures(view: View, numbers: list[int], query: Query) -> Reply:
    return _html(figures_fragment(view, view.entry(numbers[0])))


def _source(view: View, numbers: list[int], query: Query) -> Reply:
    words = query.get("q", "").strip()[:QUERY]
    return _html(listing(view, view.entry(numbers[0]), _number(query, "start") or 0, words))


def _sample(view: View, numbers: list[int], query: Query) -> Reply:
    start = _number(query, "start") or 0
    return _html(sample_page(view, view.entry(numbers[0]), numbers[1], _number(query, "epoch"), _number(query, "step"), start))


def _picture(view: View, numbers: list[int], query: Query) -> Reply:
    """The picture anew, or as plain words what is wrong with it."""
    entry, row, place = view.entry(numbers[0]), numbers[1], numbers[2]
    sample = as_seen(view, entry, view.row(entry, row)[row], _number(query, "epoch")).sample
    if place >= len(sample.images):
        raise NotThere(f"row {row} of {entry.title} has {len(sample.images)} pictures, from 0; there is no picture {place}")
    side = min(max(_number(query, "side") or SIDES[1], SIDES[0]), SIDES[1])
    try:
        data, media_type = drawn(sample.images[place], side, view.fetch)
    except (ValueError, OSError) as reason:
        return _plain(HTTPStatus.UNPROCESSABLE_ENTITY, str(reason))
    return Reply(data, media_type, kept=True)


def _packs(view: View, numbers: list[int], query: Query) -> Reply:
    return _html(packs_page(view, numbers[0], numbers[1]))


def _any_packs(view: View, numbers: list[int], query: Query) -> Reply:
    """What the form for a step's number asks for."""
    return Reply(b"", status=HTTPStatus.SEE_OTHER, location=pack_address(_number(query, "step") or 0))


_N = r"(\d{1,10})"
ROUTES: list[tuple[re.Pattern[str], Callable[[View, list[int], Query], Reply]]] = [
    (re.compile(pattern, re.ASCII), handle)
    for pattern, handle in (
        ("/", _overview),
        (f"/figures/{_N}", _figures),
        (f"/source/{_N}", _source),
        (f"/sample/{_N}/{_N}", _sample),
        (f"/picture/{_N}/{_N}/{_N}", _picture),
        ("/packs", _any_packs),
        (f"/packs/{_N}/{_N}", _packs),
    )
]


def _number(query: Query, name: str) -> int | None:
    value = query.get(name, "")
    if value and not re.fullmatch(r"\d{1,10}", value, re.ASCII):
        raise BadQuery(f"{name} is a number from 0, not {value[:40]!r}")
    return int(value) if value else None


def _html(markup: Markup) -> Reply:
    return Reply(markup.encode(errors="replace"))  # lone surrogates are no text


def _plain(status: HTTPStatus, words: str) -> Reply:
    return Reply(words.encode(errors="replace"), "text/plain; charset=utf-8", status)


def _sorry(status: HTTPStatus, title: str, words: str) -> Reply:
    return Reply(page(title, [("data", "/"), (title, None)], fault(words)).encode(errors="replace"), status=status)
