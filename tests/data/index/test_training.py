"""Training sees the same in every container: pictures in archives and tables give the patches of the same pictures as files."""

import json
import zipfile

import numpy as np
import pytest

from kimivl.data.pieces import outline
from kimivl.data.source import Source as TrainingSource
from tests.data.index.originals import Source, encoded, fetch, question, write_tar

SIZES = [(8 + 4 * (n % 5), 8 + 8 * (n % 3)) for n in range(12)]


def encodings(source: TrainingSource, processor) -> list[tuple[np.ndarray, ...]]:
    found = []
    for row in range(len(source)):
        encoded_row = processor.filled(outline(source[row], processor), fetch)
        found.append((encoded_row.ids, encoded_row.supervised, encoded_row.patches, encoded_row.grids))
    return found


@pytest.fixture
def expected(source, processor, tmp_path):
    """Of our own JSONL beside the plain files."""
    folder = tmp_path / "plain" / "mine"
    folder.mkdir(parents=True)
    lines = []
    for number, size in enumerate(SIZES):
        (folder / f"{number}.png").write_bytes(encoded(number, size))
        parts = [{"type": "image", "image": f"{number}.png"}, {"type": "text", "text": "What is it?"}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": "A square."}]}
        lines.append(json.dumps({"id": f"{number}", "messages": [{"role": "user", "content": parts}, answer]}))
    (folder / "train.jsonl").write_text("\n".join(lines))
    return encodings(TrainingSource(tmp_path / "plain", "mine"), processor)


def rows(prefix: str) -> list[dict]:
    return [question(f"{prefix}{number}.png") | {"id": number} for number in range(len(SIZES))]


def in_tar(source: Source) -> None:
    write_tar(source.root / "s.tar", {f"{number}.png": encoded(number, size) for number, size in enumerate(SIZES)})
    source.rows(*rows("s.tar/"))


def in_zip(source: Source, method: int) -> None:
    with zipfile.ZipFile(source.root / "z.zip", "w", method) as archive:
        for number, size in enumerate(SIZES):
            archive.writestr(f"{number}.png", encoded(number, size))
    source.rows(*rows("z.zip/"))


def in_files(source: Source) -> None:
    for number, size in enumerate(SIZES):
        source.put(f"{number}.png", encoded(number, size))
    source.rows(*rows(""))


def in_table(source: Source) -> None:
    cells = [{"bytes": encoded(number, size), "path": None} for number, size in enumerate(SIZES)]
    source.table([row | {"image": cell} for row, cell in zip(rows(""), cells)])


CONTAINERS = {
    "files": in_files, "tar": in_tar, "stored": lambda source: in_zip(source, zipfile.ZIP_STORED),
    "deflated": lambda source: in_zip(source, zipfile.ZIP_DEFLATED), "parquet": in_table,
}  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_changes_nothing_of_what_is_learned(source, expected, processor, container, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    CONTAINERS[container](source)
    source.index()
    found = encodings(TrainingSource(source.out.parent.parent, "mine"), processor)
    assert len(found) == len(expected) == 12
    for ours, plain in zip(found, expected):
        assert all(np.array_equal(one, other) for one, other in zip(ours, plain))
