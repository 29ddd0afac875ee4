"""Builds all data of the nano recipe from what `pip` brings: one call, resumable, a few minutes at most.

What it is: `build_nano`, which runs the groups of sources in their order, skips those that are finished, and writes
`manifest.json` with counts and duplicates. A group is finished when its marker in `<root>/.finished/` holds the
fingerprint of everything that decides its content: builder version, seed, scale, package versions, groups it reads.
What it is not: a download; a missing package is an error that says what to install.
"""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kimivl.curate import duplicates
from kimivl.curate.ocr import digits, words
from kimivl.curate.photo import photos
from kimivl.curate.reason import sources as reason
from kimivl.curate.records import stable_hash
from kimivl.curate.scene import shapes
from kimivl.curate.text import docs, library, recall
from kimivl.curate.video import clips
from kimivl.curate.vqa import easy_vqa
from kimivl.curate.workshop import Workshop
from kimivl.model.atomic import recover_folder, write_atomic, writing

PYTHON = "python"  # its standard library is a source of text


@dataclass(frozen=True)
class Group:
    """Sources that one function builds together. Raise `version` whenever what it writes changes."""

    name: str
    version: int
    sources: tuple[str, ...]
    build: Callable[[Workshop], None]
    packages: tuple[str, ...]  # distributions whose content or drawing decides the result
    reads: tuple[str, ...] = field(default=())  # groups that must be built before


GROUPS = (
    Group("text", 3, library.SOURCES, library.build, (PYTHON, *docs.DISTRIBUTIONS)),
    Group("recall", 7, recall.SOURCES, recall.build, (), reads=("text",)),
    Group("easy_vqa", 4, easy_vqa.SOURCES, easy_vqa.build, ("easy-vqa",)),
    Group("words", 5, words.SOURCES, words.build, ("matplotlib", "pillow", "numpy"), reads=("text",)),
    Group("digits", 1, digits.SOURCES, digits.build, ("scikit-learn", "pillow", "numpy")),
    Group("scenes", 9, shapes.SOURCES, shapes.build, ("pillow", "numpy")),
    Group("photos", 2, photos.SOURCES, photos.build, ("scikit-image", "scikit-learn", "pillow", "numpy")),
    Group("clips", 3, clips.SOURCES, clips.build, ("pillow", "numpy")),
    Group("reason", 4, reason.SOURCES, reason.build, ("matplotlib", "pillow", "numpy")),
)


def build_nano(
    root: Path, seed: int, *, scale: float = 1.0, only: Sequence[str] | None = None, progress: bool = True
) -> dict[str, Any]:
    """Build what is missing under `root` and return the manifest that was written to `<root>/manifest.json`.

    Args:
        seed: fixes every random choice.
        scale: size relative to the full build; below 1 for tests.
        only: names of groups to build (with what they read); None builds all.
    Raises: ValueError if a package is missing or `only` names an unknown group. OSError naming the file, the cause and the fix if
        something cannot be written; the sources of the group that was being built are those of the build before then.
    """
    wanted = _with_requirements(only)
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    fingerprints: dict[str, str] = {}
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(*columns, disable=not progress) as bars:
        for group in wanted:
            fingerprints[group.name] = _fingerprint(group, seed, scale, fingerprints)
            task = bars.add_task(group.name, total=1.0)
            if not _is_finished(root, group, fingerprints[group.name]):
                _build_group(root, group, seed, scale, fingerprints[group.name], partial(_show, bars, task))
            bars.update(task, completed=1.0)
    surveys = [json.loads(_marker(root, group).read_text())["survey"] for group in wanted]
    manifest = {"seed": seed, "scale": scale, "fingerprints": fingerprints} | {
        key: {name: value for survey in surveys for name, value in survey[key].items()} for key in ("sources", "duplicates")
    }
    write_atomic(root / "manifest.json", json.dumps(manifest, indent=1))
    return manifest


def _show(bars: Progress, task: TaskID, share: float) -> None:
    bars.update(task, completed=share)


def _with_requirements(only: Sequence[str] | None) -> list[Group]:
    """The groups asked for and those they read, in building order."""
    by_name = {group.name: group for group in GROUPS}
    wanted = set(by_name if only is None else only)
    if unknown := wanted - set(by_name):
        raise ValueError(f"no group of data is called {sorted(unknown)}: choose from {sorted(by_name)}")
    for group in reversed(GROUPS):
        wanted |= set(group.reads) if group.name in wanted else set()
    return [group for group in GROUPS if group.name in wanted]


def _fingerprint(group: Group, seed: int, scale: float, upstream: dict[str, str]) -> str:
    versions = {package: _version(package) for package in group.packages}
    read = {name: upstream[name] for name in group.reads}
    return f"{stable_hash(json.dumps([group.name, group.version, seed, scale, versions, read], sort_keys=True)):016x}"


def _version(package: str) -> str:
    if package == PYTHON:
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ValueError(f"the nano data needs the package '{package}': install it with `pip install 'kimivl[data]'`") from None


def _marker(root: Path, group: Group) -> Path:
    return root / ".finished" / f"{group.name}.json"


def _is_finished(root: Path, group: Group, fingerprint: str) -> bool:
    marker = _marker(root, group)
    return (
        marker.exists()
        and json.loads(marker.read_text())["fingerprint"] == fingerprint
        and all((root / s).is_dir() for s in group.sources)
    )


def _build_group(root: Path, group: Group, seed: int, scale: float, fingerprint: str, advance: Callable[[float], None]) -> None:
    for source in group.sources:
        recover_folder(root / source)
    with Workshop(root, group.name, seed, scale, advance) as shop:
        group.build(shop)
        _marker(root, group).unlink(missing_ok=True)
        shop.publish(group.sources)
    survey = duplicates.survey(root, group.sources, shop.pixel_hashes)
    duplicates.check(survey["duplicates"])
    write_atomic(_marker(root, group), json.dumps({"fingerprint": fingerprint, "survey": survey}))
