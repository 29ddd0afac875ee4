"""The report in a real browser: it renders, on a desk and on a phone, and asks for nothing beside itself."""

import functools
import json
import os
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from kimivl.eval.report import write_report
from kimivl.eval.summary import measure_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REASON = "no Chromium is installed (`make test` installs it where apt and root allow)"
pytestmark = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=REASON)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking
--disable-sync --hide-scrollbars"""


@pytest.fixture(scope="module")
def report(run):
    measure_run(run)
    return write_report(run)


@pytest.fixture
def server(report):
    """Serves the report's folder; `asked` holds the paths that the browser asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=report.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.asked = asked
        yield server
        server.shutdown()


def browse(tmp_path, *arguments):
    assert CHROMIUM, REASON  # in CI, where nothing is left out
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_rendered_page_asks_for_nothing_beside_itself(server, tmp_path):
    origin = f"http://127.0.0.1:{server.server_port}"
    log = tmp_path / "net.json"
    result = browse(tmp_path, f"--log-net-log={log}", "--enable-logging=stderr", "--dump-dom", f"{origin}/index.html")
    assert server.asked == ["/index.html"]
    assert requests_of_pages(log, origin) == {f"{origin}/index.html"}
    assert "Refused to load" not in result.stderr and "violates" not in result.stderr


def requests_of_pages(log, origin):
    """Addresses that were asked for by the page or from its server; what the browser does for itself is left out."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    requests = [params for params in events if "url" in params and "method" in params]
    return {one["url"] for one in requests if one["url"].startswith(origin) or one.get("initiator", "").startswith(origin)}


def test_a_page_that_asks_for_more_would_be_caught(server, report, tmp_path):
    origin = f"http://127.0.0.1:{server.server_port}"
    (report.parent / "other.html").write_text(
        '<link rel="icon" href="data:,"><img src="/a.png"><img src="http://127.0.0.1:9/b.png">'
    )
    log = tmp_path / "net.json"
    browse(tmp_path, f"--log-net-log={log}", "--dump-dom", f"{origin}/other.html")
    assert server.asked[0] == "/other.html" and "/a.png" in server.asked
    assert requests_of_pages(log, origin) == {f"{origin}/other.html", f"{origin}/a.png", "http://127.0.0.1:9/b.png"}


def test_the_dom_holds_the_report(report, tmp_path):
    dom = browse(tmp_path, "--dump-dom", report.as_uri()).stdout
    assert "<title>kimivl: nano</title>" in dom
    for heading in ("Asked and reached", "What it answers", "Stage by stage", "Needle in a haystack"):
        assert f"<h2>{heading}</h2>" in dom
    assert dom.count('<svg class="chart"') == report.read_text().count('<svg class="chart"')


@pytest.mark.parametrize("width", [1200, 390])
def test_it_is_painted_within_the_width_of_the_window(report, tmp_path, width):
    shot = tmp_path / "shot.png"
    browse(tmp_path, f"--screenshot={shot}", f"--window-size={width},1400", report.as_uri())
    image = Image.open(shot).convert("RGB")
    assert image.width == width
    colors = {color for _, color in image.getcolors(1 << 24)}
    assert len(colors) > 50  # pictures, bars and text, not an empty page
    margin = {image.getpixel((x, y)) for x in (1, width - 2) for y in range(0, 1400, 7)}
    assert margin == {(246, 247, 248)}  # nothing runs out of the page at either side
