"""A small data folder with pictures, places, two languages and faults, a byte vocabulary, and the page served from them."""

import http.client
import json
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from kimivl.catalog.view.context import View
from kimivl.catalog.view.server import ViewServer
from kimivl.catalog.view.shelf import Shelf
from kimivl.config.recipe import StageConfig
from kimivl.config.store import StoreConfig
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

ATTACK = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
GROUND, DISC = (10, 120, 30), (240, 220, 0)
SIZE = (200, 100)
PLACES = [(0.25, 0.6), (0.7, 0.3), (0.5, 0.5), (0.125, 0.25)]  # of the discs


@pytest.fixture(scope="session")
def processor() -> Processor:
    """Ids of text are its bytes."""
    return Processor(Tokenizer({bytes([value]): value for value in range(256)}), ImageProcessor(patch_size=4))


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """`discs`: a disc and its place; `talk`: chats without pictures; `hostile`: markup in all fields, unreadable rows."""
    root = tmp_path_factory.mktemp("data")
    write(root, "discs", [disc(root, number, *place) for number, place in enumerate(PLACES)])
    write(root, "talk", [chat(number) for number in range(130)])
    (root / "hostile").mkdir()
    (root / "hostile" / "page.png").write_text("<html><script>alert(1)</script></html>")
    lines = [
        json.dumps({"id": ATTACK, "messages": [{"role": "user", "content": ATTACK}], "meta": {"language": ATTACK}}),
        json.dumps({"id": "no-picture", "content": [{"type": "image", "image": "page.png"}]}),
        json.dumps({"id": "missing", "content": [{"type": "image", "image": f"{ATTACK.replace('/', '')}.png"}]}),
        '{"id": "broken ' + ATTACK,
    ]
    (root / "hostile" / "train.jsonl").write_text("\n".join(lines) + "\n")
    return root


def write(root: Path, name: str, records: list[dict], split: str = "train") -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / f"{split}.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))


def disc(root: Path, number: int, x: float, y: float) -> dict:
    """A disc of radius 12; a smaller one, in another colour, shows that not any disc will do."""
    picture = Image.new("RGB", SIZE, GROUND)
    draw, (left, top) = ImageDraw.Draw(picture), (x * SIZE[0], y * SIZE[1])
    draw.ellipse([left - 12, top - 12, left + 12, top + 12], DISC)
    draw.ellipse([150, 70, 162, 82], (0, 0, 90))
    (root / "discs").mkdir(exist_ok=True)
    picture.save(root / "discs" / f"{number}.png")
    parts = [{"type": "image", "image": f"{number}.png"}, {"type": "text", "text": "Where is the disc?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": f"click(x={x:.3f}, y={y:.3f})"}]
    return {"id": f"disc-{number}", "messages": messages, "meta": {"coordinates": "unit"}}


def chat(number: int) -> dict:
    ask = f"第{number}个问题？" if number % 2 else f"Question {number}?"
    answer = [
        {"type": "text", "text": "Hm, "},
        {"type": "text", "text": "not this. ", "learned": False},
        {"type": "text", "text": "答案 🙂\n"},
    ]
    return {"id": f"talk-{number}", "messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}


@pytest.fixture(scope="session")
def stage() -> StageConfig:
    return StageConfig.model_validate({
        "name": "sft", "kind": "sft", "steps": 60, "context": 2000, "packs": 2, "pack_tokens": 2400, "pack_patches": 8000,
        "schedule": [{"steps": 60, "start": 0, "end": 1e-3}], "look_ahead": 2,
        "mixture": [{"at": 0, "weights": {"discs": 3, "talk": 1}}, {"at": 1, "weights": {"discs": 1, "talk": 1}}],
        "resolution": [{"at": 0, "patches": 300}, {"at": 0.5, "patches": 4096}],
        "augment": {"discs": {"mirror": 0.5, "turn": 10, "margin": 0.3, "scale": 1.3, "light": 0.1}},
    })  # fmt: skip


@pytest.fixture(scope="session")
def view(root, processor, stage) -> View:
    return View(Shelf(root), NodeFetcher(StoreConfig()), processor, stage, seed=3)


@pytest.fixture(scope="session")
def server(view):
    with ViewServer(view) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ask(server):
    """Asks the server for a path as it stands, and gives status, headers and body."""

    def ask(path: str, host: str | None = None, method: str = "GET"):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        connection.endheaders()
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()

    return ask


class Elements(HTMLParser):
    """All elements of a page, as (name, attributes), and its texts."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, kind: str) -> list[dict[str, str | None]]:
        """Attributes of the elements that have this class."""
        return [attributes for _, attributes in self.found if kind in (attributes.get("class") or "").split()]

    def links(self) -> list[str]:
        return [attributes["href"] or "" for name, attributes in self.found if name == "a"]


@pytest.fixture(scope="session")
def elements():
    return Elements


@pytest.fixture(scope="session")
def attack() -> str:
    return ATTACK


@pytest.fixture
def index(view):
    """The number of a source."""
    return lambda name: view.shelf.find(name).index
