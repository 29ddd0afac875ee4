"""What is served, without a browser: addresses, what keeps hostile data harmless, paging and search."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kimivl.catalog.view import context
from kimivl.catalog.view.context import View
from kimivl.catalog.view.figures import DRAWN
from kimivl.catalog.view.server import answer
from kimivl.catalog.view.shelf import Shelf
from kimivl.config.store import StoreConfig
from kimivl.data.manifest.manifest import Manifest
from kimivl.data.manifest.schema import SAMPLES, write_manifest
from kimivl.data.source import Source
from kimivl.data.store.node import NodeFetcher
from tests.catalog.view.conftest import PLACES, chat, write


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", ""])
def test_another_name_for_this_machine_gets_nothing(ask, server, host):
    status, _, body = ask("/", host=host.format(port=server.server_port) or " ")
    assert status == 403 and b"discs" not in body


def test_both_names_of_this_machine_are_answered(ask, server):
    assert ask("/")[0] == ask("/", host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/source/../../../etc/passwd", "/picture/0/0/..%2f..%2fetc%2fpasswd", "/picture/0/0/0/../1",
     "//etc/passwd", "/source/x", "/source/-1", "/source/99", "/source/0?start=10000000", "/sample/0/999999", "/picture/0/0/7",
     "/packs/60/0", "/packs/0/2", "/source/%D9%A3", "/view.css"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(ask, path):
    status, _, body = ask(path)
    assert status == 404 and b"root:" not in body


@pytest.mark.parametrize(
    "path", ["/sample/0/0?epoch=-1", "/sample/0/0?epoch=x", "/source/0?start=1.5", "/picture/0/0/0?side=1e9"]
)
def test_values_that_are_no_numbers_are_refused(ask, path):
    status, _, body = ask(path)
    assert status == 400 and b"is a number from 0" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(ask, method):
    assert ask("/", method=method)[0] == 501


@pytest.mark.parametrize("path", ["/", "/source/0", "/sample/0/0", "/packs/0/0", "/nowhere", "/picture/0/0/0", "/figures/0"])
def test_every_answer_carries_the_policy(ask, path):
    _, headers, body = ask(path)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not re.search(rb"(?:src|href|action)=\"(?!/|data:,)", body)  # nothing from elsewhere
    assert b" style=" not in body and not re.search(rb" on[a-z]+=", body)  # what the policy would refuse


def test_head_is_get_without_a_body(ask):
    (status, headers, body), (_, _, whole) = ask("/", method="HEAD"), ask("/")
    assert status == 200 and body == b"" and int(headers["Content-Length"]) == len(whole)


def test_a_picture_is_written_anew_and_shrunk(ask, index, root):
    status, headers, body = ask(f"/picture/{index('discs')}/0/0")
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(body))), np.asarray(Image.open(root / "discs" / "0.png")))
    assert Image.open(io.BytesIO(ask(f"/picture/{index('discs')}/0/0?side=50")[2])).size == (50, 25)


def test_a_page_that_poses_as_a_picture_is_never_handed_out(ask, index):
    status, headers, body = ask(f"/picture/{index('hostile')}/1/0")
    assert status == 422 and headers["Content-Type"].startswith("text/plain")
    assert b"page.png: not a picture in a format that Pillow reads" in body and b"<script>" not in body


def test_a_row_that_cannot_be_read_says_why_and_shows_its_line(ask, index):
    status, _, body = ask(f"/sample/{index('hostile')}/3")
    assert status == 200 and b"train.jsonl:4: not valid JSON" in body and b"{&quot;id&quot;: &quot;broken" in body


def test_cards_show_the_places_that_texts_name(ask, index, elements):
    """Each over its own picture, in the picture's pixels: the third disc lies at (0.5, 0.5) of 200 × 100."""
    page = elements(ask(f"/source/{index('discs')}")[2].decode())
    overlays = [one for one in page.of("overlay")]
    assert [(one["viewbox"], one["preserveaspectratio"]) for one in overlays] == [("0 0 200 100", "xMidYMid meet")] * len(PLACES)
    assert [one["aria-label"] for one in overlays] == [f"point ({x:g}, {y:g})" for x, y in PLACES]
    dots = [one["d"] for _, one in page.found if "dot" in (one.get("class") or "").split()]
    assert dots[2] == "M100.000 50.000h0.001"
    assert not elements(ask(f"/source/{index('hostile')}")[2].decode()).of("overlay")


def test_a_missing_picture_is_named(ask, index):
    status, _, body = ask(f"/sample/{index('hostile')}/2")
    assert status == 200 and b"there is no such file" in body


def test_pages_lead_through_every_row_once(ask, index, elements):
    path, rows = f"/source/{index('talk')}", list[str]()
    while path:
        page = elements(ask(path)[2].decode())
        rows += [card["href"] for card in page.of("card")]
        path = next((one["href"] for _, one in page.found if one.get("rel") == "next"), None)
    assert rows == [f"/sample/{index('talk')}/{row}" for row in range(130)]


@pytest.mark.parametrize(
    ("query", "rows"),
    [("talk-129", [129]), ("QUESTION%2012?", [12]), ("%E7%AC%AC7%E4%B8%AA", [7]), ("nowhere", []),
     ("TALK-12", [12, *range(120, 130)])],
)  # fmt: skip
def test_words_are_found_in_ids_and_texts(ask, index, elements, query, rows):
    page = elements(ask(f"/source/{index('talk')}?q={query.replace('?', '%3F')}")[2].decode())
    assert [card["href"] for card in page.of("card")] == [f"/sample/{index('talk')}/{row}" for row in rows]


def test_a_search_goes_on_where_it_stopped(ask, index, elements):
    path, rows = f"/source/{index('talk')}?q=talk", list[str]()
    while path:
        page = elements(ask(path)[2].decode())
        rows += [card["href"] for card in page.of("card")]
        path = next((one["href"] for _, one in page.found if one.get("rel") == "next"), None)
    assert len(rows) == len(set(rows)) == 130


def test_every_segment_leads_to_its_sample_as_the_step_sees_it(ask, elements):
    page = elements(ask("/packs/3/0")[2].decode())
    links = [one for one in page.links() if one.startswith("/sample/")]
    names = [one["data-sample"] for name, one in page.found if name == "tr" and "data-sample" in one]
    assert len(names) > 3
    for name, link in zip(names, links[-len(names) :]):
        status, _, body = ask(link)
        assert status == 200 and f"<title>{name} ·".encode() in body and "step=3" in link
        assert ("epoch=" in link) == name.startswith("disc")


def test_the_form_for_a_step_leads_to_its_address(ask):
    status, headers, _ = ask("/packs?step=17")
    assert status == 303 and headers["Location"] == "/packs/17/0"


def test_without_a_recipe_packs_say_what_to_give(root):
    with pytest.raises(LookupError, match="packs need a recipe, a stage and a processor"):
        answer(View(Shelf(root), NodeFetcher(StoreConfig())), "/packs/0/0")


def test_without_a_processor_texts_are_shown(root, index):
    body = answer(View(Shelf(root), NodeFetcher(StoreConfig())), f"/sample/{index('talk')}/1").body.decode()
    assert "Give --processor" in body and "第1个问题？" in body


def test_opening_reads_no_more_rows_than_are_shown(tmp_path, monkeypatch):
    """Of 30,000 rows: none for the overview, a drawn few for the figures, a page for the source."""
    write(tmp_path, "many", [chat(number) for number in range(30_000)])
    view, read = View(Shelf(tmp_path), NodeFetcher(StoreConfig())), []
    original = Source.__getitem__
    monkeypatch.setattr(Source, "__getitem__", lambda source, row: read.append(row) or original(source, row))
    answer(view, "/")
    assert read == []
    assert "500 of 30,000 rows, drawn at random" in answer(view, "/figures/0").body.decode()
    assert len(read) == len(set(read)) == DRAWN and max(read) > 25_000
    read.clear()
    answer(view, "/source/0?start=20000")
    assert len(read) == 48 and set(read) == set(range(20_000, 20_048))


@pytest.fixture
def many(tmp_path):
    """A manifest of 200,000 rows over 2 originals."""
    count, facts = (
        200_000,
        {"version": "", "start": 0, "length": 9, "deflated": False, "sha256": "0" * 64, "media_type": "image/png"},
    )
    objects = [{"name": name, "url": name, "width": 40, "height": 30} | facts for name in ("a.png", "b.png")]
    write_manifest(tmp_path / "data" / "many" / "train.manifest", objects, [], tmp_path.as_uri() + "/")
    numbers = pc.cast(pa.array(range(count)), pa.string())
    ids = pc.binary_join_element_wise("s", numbers, "")
    content = pc.if_else(pc.equal(pc.bit_wise_and(pa.array(range(count)), 1), 0), "An even one: ", "第一个，奇数 ")
    records = pc.binary_join_element_wise('{"id": "', ids, '", "content": "', content, numbers, '."}', "")
    columns = {"id": ids, "record": records, "where": ids, "text_length": pa.array(range(count), pa.int64())}
    columns["pictures"] = pa.array([[]] * count, SAMPLES.field("pictures").type)
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in SAMPLES]
    pq.write_table(pa.table(arrays, schema=SAMPLES), tmp_path / "data" / "many" / "train.manifest" / "samples.parquet")
    return tmp_path / "data"


def test_of_a_large_manifest_only_what_is_shown_or_found_is_parsed(many, monkeypatch, elements):
    view, read = View(Shelf(many), NodeFetcher(StoreConfig())), []
    original = Manifest.__getitem__
    monkeypatch.setattr(Manifest, "__getitem__", lambda manifest, row: read.append(row) or original(manifest, row))
    monkeypatch.setattr(Manifest, "raw", None)  # no row is taken out of its table by itself
    assert "all 200,000 rows" in answer(view, "/figures/0").body.decode() and len(read) == DRAWN
    read.clear()
    last = next(href for href in elements(answer(view, "/source/0").body.decode()).links() if "start=1999" in href)
    assert read == list(range(48))
    read.clear()
    page = elements(answer(view, last).body.decode())
    assert len(page.of("card")) == len(read) == 200_000 % 48 and read[-1] == 199_999
    read.clear()
    for query, row in (
        ("EVEN%20one:%20199998.", 199_998),
        ("%E7%AC%AC%E4%B8%80%E4%B8%AA%EF%BC%8C%E5%A5%87%E6%95%B0%20155555.", 155_555),
    ):
        path = f"/source/0?q={query}"
        while not (cards := (page := elements(answer(view, path).body.decode())).of("card")):
            path = next(one["href"] for _, one in page.found if one.get("rel") == "next")
        assert [card["href"] for card in cards] == [f"/sample/0/{row}"]
    assert len(set(read)) == 2 and len(read) <= 4


def test_two_windows_count_once(many, monkeypatch):
    view, counted = View(Shelf(many), NodeFetcher(StoreConfig())), []
    original = context.figures_of
    monkeypatch.setattr(context, "figures_of", lambda *given: counted.append(given) or original(*given))
    with ThreadPoolExecutor(4) as pool:
        assert len({reply.body for reply in pool.map(lambda _: answer(view, "/figures/0"), range(4))}) == 1
    assert len(counted) == 1


def test_a_fault_of_the_server_is_told_in_the_terminal_and_not_to_the_browser(view, ask, monkeypatch, capfd):
    monkeypatch.setattr(View, "figures", lambda view, entry: {}["secret"])
    status, _, body = ask("/figures/0")
    assert status == 500 and b"secret" not in body and "KeyError: 'secret'" in capfd.readouterr().err
