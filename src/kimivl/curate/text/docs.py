"""Real English text from the documentation inside installed packages.

What it is: `read_library`, which walks the standard library and the packages that the demo needs anyway, takes the
documentation strings, keeps their prose, removes near-duplicates and packs it into documents; whole files are held out.
What it is not: a crawler. It reads only files that `pip` or Python itself put on this machine; nothing is imported or run.
Facts: which packages hold how much was counted here: about 26 million characters of documentation strings of at least
200 characters, of which the cleaning keeps roughly a quarter. Licences are listed in `docs/data_sources.md`.
"""

import ast
import importlib.util
import inspect
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kimivl.curate.records import held_out, stable_hash
from kimivl.curate.text.prose import Novelty, paragraphs, prose_score

# Characters of clean text to take from each package: breadth first, so that no package's vocabulary rules.
BUDGETS = {
    "stdlib": 1_600_000,
    "torch": 900_000,
    "sympy": 700_000,
    "scipy": 800_000,
    "sklearn": 800_000,
    "numpy": 600_000,
    "networkx": 400_000,
    "matplotlib": 400_000,
    "skimage": 350_000,
    "mpmath": 100_000,
    "PIL": 100_000,
}
DISTRIBUTIONS = ("torch", "sympy", "scipy", "scikit-learn", "numpy", "networkx", "matplotlib", "scikit-image", "mpmath", "pillow")
SKIPPED_FOLDERS = frozenset(
    {"tests", "test", "testing", "_vendor", "site-packages", "idlelib", "lib2to3", "ensurepip", "_inductor", "encodings"}
)
TEST_SHARE = 0.035  # of files
DOCUMENT_CHARS = (200, 900, 4000)  # least, wanted, most
HIGH_QUALITY = 0.57  # `prose_score` from which a document counts as prose-like: about the best third


@dataclass(frozen=True)
class Document:
    """One cleaned text; `origin` is 'package/file', `title` the documented name, `score` the share of plain prose."""

    origin: str
    title: str
    text: str
    score: float


@dataclass(frozen=True)
class Library:
    """What was read: documents of training files, documents of held-out files, (name, first sentence) of training docstrings."""

    train: list[Document]
    test: list[Document]
    summaries: list[tuple[str, str]]


def read_library(seed: int, scale: float = 1.0) -> Library:
    """Read every package up to its budget times `scale`; files come in an order fixed by `seed`.

    Held-out files are read first and claim their paragraphs, so that no near-copy of them can enter the training side: neither a
    document nor a summary.
    Raises: ValueError naming a package that is not installed.
    """
    files = {package: _files_in_order(package, seed) for package in BUDGETS}
    novelty = Novelty()
    test: list[Document] = []
    train: list[Document] = []
    summaries: list[tuple[str, str]] = []
    for side, share, documents in (("test", TEST_SHARE, test), ("train", 1.0, train)):
        for package, paths in files.items():
            budget = BUDGETS[package] * scale * share
            for origin, path in paths:
                if held_out(origin, TEST_SHARE, "text files") != (side == "test"):
                    continue
                if budget <= 0:
                    break
                units = list(_units(path))
                found = _documents(origin, units, novelty)
                documents.extend(found)
                budget -= sum(len(document.text) for document in found)
                if side == "train":
                    summaries.extend(_summaries(package, path, units))
    train.extend(_descriptions(novelty) if scale == 1.0 else [])
    return Library(train, test, _without_copies(summaries, test))


def _without_copies(summaries: list[tuple[str, str]], test: list[Document]) -> list[tuple[str, str]]:
    """The summaries that repeat no held-out paragraph."""
    held_out_text = Novelty()
    for document in test:
        for paragraph in document.text.split("\n"):
            held_out_text.accept(paragraph)
    return [(name, sentence) for name, sentence in summaries if not held_out_text.knows(sentence)]


def _files_in_order(package: str, seed: int) -> list[tuple[str, Path]]:
    root = _root(package)
    found = [path for suffix in ("*.py", "*.rst") for path in root.rglob(suffix)]
    named = [
        (f"{package}/{path.relative_to(root).as_posix()}", path)
        for path in found
        if not SKIPPED_FOLDERS & set(path.relative_to(root).parts[:-1])
    ]
    return sorted(named, key=lambda item: stable_hash(f"{seed}/{item[0]}"))


def _root(package: str) -> Path:
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"text source '{package}' is not installed: install the demo's packages with `pip install kimivl[data]`")
    return Path(spec.submodule_search_locations[0])


def _units(path: Path) -> Iterator[tuple[str, str]]:
    """(name, documentation text) pairs of one file, in file order."""
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a few old files declare another encoding; they hold no documentation worth the care
        return
    if path.suffix == ".rst":
        yield path.stem, source
        return
    if source.count('"""') + source.count("'''") < 2 and path.name != "topics.py":
        return
    try:
        tree = ast.parse(source)
    except SyntaxError:  # templates and files for other Python versions
        return
    if path.name == "topics.py":  # the language reference, which Python keeps as one dictionary of topics
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield str(key.value), value.value
        return
    yield from _docstrings(tree, tree_name=path.stem, loose="docs" in path.stem)


def _docstrings(tree: ast.AST, tree_name: str, loose: bool) -> Iterator[tuple[str, str]]:
    """Docstrings, and for files that attach documentation to compiled functions (`loose`) every long string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc and len(doc) >= 80:
                yield getattr(node, "name", tree_name), doc
        elif loose and isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= 300:
            yield tree_name, inspect.cleandoc(node.value)


def _documents(origin: str, units: list[tuple[str, str]], novelty: Novelty) -> list[Document]:
    """Pack new paragraphs into documents: short docstrings of a file share one, long ones are cut between paragraphs."""
    least, wanted, most = DOCUMENT_CHARS
    documents: list[Document] = []
    held: list[str] = []
    title = ""

    def close() -> None:
        joined = "\n".join(held)
        if len(joined) >= least:
            documents.append(Document(origin, title, joined, prose_score(joined)))
        held.clear()

    for name, doc in units:
        for paragraph in paragraphs(doc):
            if len(paragraph) > most or not novelty.accept(paragraph):
                continue
            if sum(map(len, held)) + len(held) + len(paragraph) > most:
                close()
            title = title if held else name
            held.append(paragraph)
        if sum(map(len, held)) >= wanted:
            close()
    close()
    return documents


def _summaries(package: str, path: Path, units: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(name, first sentence) of documented public things, the raw material of honest short question-answer pairs."""
    for name, doc in units:
        first = doc.split("\n\n")[0]
        cleaned = paragraphs(" ".join(first.split()))
        if not name.startswith("_") and len(name) > 2 and cleaned and len(cleaned[0]) <= 140 and cleaned[0].endswith("."):
            yield f"{package}.{name}" if package != "stdlib" else f"{path.stem}.{name}", cleaned[0]


def _descriptions(novelty: Novelty) -> list[Document]:
    """The long descriptions (README files) in the packages' own metadata."""
    documents: list[Document] = []
    for name in DISTRIBUTIONS:
        description = metadata.metadata(name).json.get("description", "")
        documents.extend(_documents(f"{name}/METADATA", [(name, str(description))], novelty))
    return documents
