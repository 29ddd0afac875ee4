"""The house rules that a machine can check: lint, types, imports that only run downwards, file sizes, no machine's own paths."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "kimivl"

# A room may import rooms to its left, never to its right (docs/architecture.md).
ROOMS = "config ops model processor data score optim parallel engine rl train eval serve curate catalog agent bench cli".split()

# What a room may not know of beside the rooms to its right.
FORBIDDEN = {
    "config": ["torch"],
    "processor": ["torch"],
    "score": ["torch"],
    "ops": ["torch.distributed"],
    "model": ["torch.distributed"],
    "optim": ["kimivl.model", "kimivl.processor", "kimivl.data"],
    "parallel": ["kimivl.model", "kimivl.processor", "kimivl.data"],
    "engine": ["http", "fastapi", "starlette", "aiohttp", "requests"],
    "rl": ["http", "fastapi", "starlette", "aiohttp", "requests"],
}

LONGEST_FILE = 450  # lines
SKIPPED_FOLDERS = {".git", ".venv", "data", "runs", "build", "dist"}
TEXT_SUFFIXES = {".py", ".md", ".yaml", ".toml", ".txt", ".sh", ".html", ".jinja", ".css", ".js", ""}
MACHINE_PATH = re.compile(r"(?<![\w.:/~])/(?:work|root|home)/\w")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def repository_files(suffixes: set[str]) -> list[Path]:
    """Files of the checkout, without caches, environments and what the commands build at the top level."""
    tops = [top for top in ROOT.iterdir() if top.name not in SKIPPED_FOLDERS and not top.name.endswith("_cache")]
    paths = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return sorted(path for path in paths if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts)


def package_files(room: str = "") -> list[Path]:
    return [*sorted((PACKAGE / room).rglob("*.py")), *([PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").is_file() else [])]


def imported_modules(source: str, package: tuple[str, ...]) -> set[str]:
    """Every module that `source`, a file of the package `package`, imports anywhere: `from a import b` gives `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
    return found


def imports_of(path: Path) -> set[str]:
    package = ("kimivl", *path.relative_to(PACKAGE).parent.parts)
    return imported_modules(path.read_text(encoding="utf-8"), package)


def run_tool(*command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_finds_nothing():
    run_tool("ruff", "check", "--output-format", "concise", ".")
    run_tool("ruff", "format", "--check", ".")


def test_mypy_finds_nothing():
    run_tool("mypy")


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ..train import trainer", "kimivl.train.trainer"),
        ("from .norm import rms_norm", "kimivl.ops.norm"),
        ("from .. import eval", "kimivl.eval"),
        ("def f():\n    import kimivl.eval.report", "kimivl.eval.report"),
    ],
)
def test_the_import_reader_sees_through_relative_and_late_imports(source, module):
    assert module in imported_modules(source, ("kimivl", "ops"))


@pytest.mark.parametrize("path", package_files(), ids=name)
def test_a_file_imports_only_earlier_rooms(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    assert room in ROOMS, f"{name(path)}: '{room}' is no room of the house; the rooms are {', '.join(ROOMS)}"
    imported = {module.split(".")[1] for module in imports_of(path) if module.startswith("kimivl.")}
    above = sorted(imported & set(ROOMS[ROOMS.index(room) + 1 :]))
    assert not above, f"{name(path)} lives in '{room}' and imports {above}, which stand above it"


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_a_room_does_not_know_what_is_not_its_own(room):
    for path in package_files(room):
        for module in imports_of(path):
            known = [other for other in FORBIDDEN[room] if module == other or module.startswith(other + ".")]
            assert not known, f"{name(path)} imports {module}; the room '{room}' may not know of {known[0]}"


@pytest.mark.parametrize("path", package_files(), ids=name)
def test_a_file_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name(path)} has no module docstring"


def test_every_folder_of_the_package_says_what_it_holds():
    folders = {path.parent for path in package_files()}
    bare = sorted(name(folder) for folder in folders if not (folder / "__init__.py").is_file())
    assert not bare, f"no __init__.py with a docstring in {bare}"


def test_no_file_is_too_long_to_be_one_idea():
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in repository_files({".py"})}
    too_long = {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}
    assert not too_long, f"more than {LONGEST_FILE} lines: {too_long}"


def test_no_text_names_a_path_of_one_machine():
    found = []
    for path in repository_files(TEXT_SUFFIXES):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line):
                found.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)
