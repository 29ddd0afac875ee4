"""What `kimivl data` does with a catalog: publish, fetch, sync, ls, show, stats, diff, deprecate, release, retire."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimivl.cli.command import RESUMES, add_command, add_rate

if TYPE_CHECKING:
    from kimivl.catalog.lifecycle import Deletion
    from kimivl.catalog.versions import Catalog, Known
    from kimivl.eval.progress import Lines

DEFAULT = "data/catalog"


def add_catalog(kinds: Any) -> None:
    """Adds the commands to those of `kimivl data`."""
    _add_writing(kinds)
    _add_looking(kinds)
    _add_giving_up(kinds)


def _add_writing(kinds: Any) -> None:
    publish = add_command(
        kinds, "publish", _publish,
        "register a manifest as a new version of a data set, with statistics, a card and a Croissant file",
        "  kimivl data publish data/mine/coco/train.manifest data/catalog coco --note 'captions of 2026'\n"
        "  kimivl data publish data/mine/coco/train.manifest s3://bucket/catalog coco",
    )  # fmt: skip
    publish.add_argument("folder", type=Path, metavar="FOLDER.manifest", help="what `kimivl data index` made")
    publish.add_argument("catalog", metavar="CATALOG", help="a folder, or s3://bucket/prefix")
    publish.add_argument("name", metavar="NAME", help="of the data set; its versions are NAME@1, NAME@2, …")
    publish.add_argument("--note", default="", help="what is new, for people")
    publish.set_defaults(when_stopped=RESUMES)

    fetch = add_command(
        kinds, "fetch", _fetch,
        "bring the manifest of a version into a folder of a recipe's data; originals stay in their store",
        "  kimivl data fetch coco@3 data/mine/coco/train.manifest --catalog s3://bucket/catalog",
    )  # fmt: skip
    fetch.add_argument("version", metavar="NAME[@N]", help="a version; without @N the last one in use")
    fetch.add_argument(
        "out", type=Path, metavar="OUT.manifest", help="mostly <data>/<source>/<split>.manifest; replaced if there"
    )

    sync = add_command(
        kinds, "sync", _sync,
        "copy versions with their originals from one catalog to another; only what is missing, every byte verified",
        "  kimivl data sync data/catalog s3://bucket/catalog\n"
        "  kimivl data sync s3://near/catalog s3://far/catalog coco@3 --from-profile near --to-profile far",
    )  # fmt: skip
    sync.add_argument("source", metavar="A", help="the catalog to copy from")
    sync.add_argument("target", metavar="B", help="the catalog to copy to")
    sync.add_argument("words", nargs="*", metavar="NAME[@N]", help="versions to copy (default: all in use)")
    sync.add_argument("--root", metavar="URL", help="where originals go, in a folder for each data set (default: B/originals)")
    sync.add_argument("--from-profile", metavar="P", help="a profile of ~/.aws for A (default: the AWS_* variables)")
    sync.add_argument("--to-profile", metavar="P", help="a profile of ~/.aws for B (default: the AWS_* variables)")
    sync.set_defaults(when_stopped=RESUMES)
    add_rate(publish, fetch, sync)
    _add_json(publish, fetch, sync)
    _add_place(fetch)


def _add_looking(kinds: Any) -> None:
    ls = add_command(
        kinds, "ls", _ls, "list the versions of a catalog", "  kimivl data ls\n  kimivl data ls s3://bucket/catalog --json"
    )
    ls.add_argument("catalog", nargs="?", default=DEFAULT, metavar="CATALOG", help=f"a folder or URL (default: {DEFAULT})")
    show = add_command(
        kinds, "show", _show, "tell what is known of a version", "  kimivl data show coco\n  kimivl data show coco@3"
    )
    show.add_argument("version", metavar="NAME[@N]", help="a version; without @N the last one in use")
    stats = add_command(
        kinds, "stats", _stats, "tell what a version or a manifest holds, in numbers",
        "  kimivl data stats coco@3\n  kimivl data stats data/mine/coco/train.manifest --json",
    )  # fmt: skip
    stats.add_argument("what", metavar="NAME[@N]|FOLDER.manifest", help="a version, or a manifest that is not published")
    diff = add_command(
        kinds, "diff", _diff, "compare two versions or manifests: samples by id, originals by name",
        "  kimivl data diff coco@2 coco@3\n  kimivl data diff coco data/mine/coco/train.manifest",
    )  # fmt: skip
    diff.add_argument("before", metavar="A", help="NAME, NAME@N or FOLDER.manifest")
    diff.add_argument("after", metavar="B", help="NAME, NAME@N or FOLDER.manifest")
    _add_json(ls, show, stats, diff)
    _add_place(show, stats, diff)


def _add_giving_up(kinds: Any) -> None:
    deprecate = add_command(
        kinds, "deprecate", _deprecate, "mark a version that new work should not use; it stays usable",
        "  kimivl data deprecate coco@2 --reason 'labels were shifted'",
    )  # fmt: skip
    deprecate.add_argument("version", metavar="NAME@N")
    deprecate.add_argument("--reason", required=True, help="for whoever fetches it")
    release = add_command(
        kinds, "release", _release, "say that a run needs a version no more", "  kimivl data release coco@2 runs/nano"
    )
    release.add_argument("version", metavar="NAME@N")
    release.add_argument("holder", metavar="RUN", help="its folder, or as `kimivl data show` names it")
    retire = add_command(
        kinds, "retire", _retire,
        "end the use of a version that no run needs; with --delete, remove its tables and the originals that it alone has",
        "  kimivl data retire coco@1\n  kimivl data retire coco@1 --delete --dry-run\n  kimivl data retire coco@1 --delete",
    )  # fmt: skip
    retire.add_argument("version", metavar="NAME@N", help="a version, or with --delete the rest of an interrupted publication")
    retire.add_argument("--delete", action="store_true", help="remove what it alone needs, too; asks before")
    retire.add_argument("--dry-run", action="store_true", help="tell what would happen, and change nothing")
    retire.add_argument("--yes", action="store_true", help="delete without asking; of a draft: its writers are dead")
    retire.set_defaults(when_stopped=RESUMES)
    add_rate(retire)
    _add_json(deprecate, release, retire)
    _add_place(deprecate, release, retire)


def _add_json(*parsers: argparse.ArgumentParser) -> None:
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_place(*parsers: argparse.ArgumentParser) -> None:
    for parser in parsers:
        parser.add_argument("--catalog", default=DEFAULT, metavar="URL", help=f"a folder or URL (default: {DEFAULT})")


def _publish(args: argparse.Namespace) -> None:
    from kimivl.catalog.publish import publish

    how = {"command": f"kimivl data publish {args.folder} {args.catalog} {args.name}"}
    with _lines(args) as lines:
        version, new = publish(args.folder, _paced(args), args.name, args.note, how, lines)
    if args.json:
        print(json.dumps({"version": version.reference, "new": new, "digest": version.digest}))
    elif new:
        print(f"{version.reference} is published in {args.catalog}")
    else:
        print(f"{version.reference} is this very manifest (digest {version.digest}); nothing to do")


def _fetch(args: argparse.Namespace) -> None:
    from kimivl.catalog.fetch import fetch

    with _lines(args) as lines:
        version, state = fetch(_paced(args), args.version, args.out, lines)
    if args.json:
        print(json.dumps({"version": version.reference, "state": state, "manifest": str(args.out)}))
        return
    print(f"{version.reference}: {args.out}")
    if state == "deprecated":
        print(f"{version.reference} is deprecated; `kimivl data show {version.reference}` says why", file=sys.stderr)


def _sync(args: argparse.Namespace) -> None:
    from kimivl.catalog.sync import sync
    from kimivl.catalog.versions import Catalog

    source = Catalog(args.source, args.from_profile, args.requests_per_second)
    target = Catalog(args.target, args.to_profile, args.requests_per_second)
    usable = [f"{known.name}@{known.number}" for known in source.known() if known.state in ("released", "deprecated")]
    if not args.words and not usable:
        raise ValueError(f"{args.source} has no version that is in use, so there is nothing to copy")
    results = []
    with _lines(args) as lines:
        for reference in args.words or usable:
            results.append(sync(source, target, reference, args.root, lines))
    if args.json:
        facts = [asdict(result) | {"version": result.version.reference} for result in results]
        print(json.dumps({"versions": facts}))
        return
    rows = [
        (
            each.version.reference,
            "copied" if each.new else "was there" if each.state == "released" else f"was there, {each.state}",
            f"{each.copied:,}",
            _size(each.bytes),
            f"{each.present:,}",
        )
        for each in results
    ]
    _print_table(("version", "", "originals copied", "bytes copied", "found there"), rows)


def _ls(args: argparse.Namespace) -> None:
    catalog = _catalog(args.catalog)
    rows, facts = [], []
    for known in catalog.known():
        reference = f"{known.name}@{known.number}"
        if not known.finished:
            rows.append((reference, known.state, "", "", "", "", ""))
            facts.append({"version": reference, "state": known.state})
            continue
        version = catalog.read_version(known.name, known.number)
        counts = version.summary
        rows.append((
            reference, known.state, f"{counts['samples']:,}", f"{counts['pictures']:,}", _size(counts["bytes"]),
            ", ".join(version.licences), version.created[:10],
        ))  # fmt: skip
        facts.append({"version": reference, "state": known.state} | version.model_dump(mode="json", exclude={"files"}))
    if args.json:
        print(json.dumps({"catalog": catalog.url, "versions": facts}, ensure_ascii=False))
    elif rows:
        _print_table(("version", "state", "samples", "pictures", "bytes", "licences", "created"), rows)
    else:
        print(f"{args.catalog} has no versions; add one with `kimivl data publish`")


def _show(args: argparse.Namespace) -> None:
    from kimivl.catalog.lifecycle import holders

    catalog = _catalog(args.catalog)
    version, known = catalog.find(args.version)
    facts = version.model_dump(mode="json") | {
        "state": known.state,
        "marks": catalog.marks(version, known),
        "runs": holders(catalog.held(version, known).values()),
    }  # fmt: skip
    if args.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    facts |= {"files": f"{len(version.files)} ({_size(sum(each.size for each in version.files.values()))})"}
    facts["licences"], facts["runs"] = ", ".join(facts["licences"]), ", ".join(facts["runs"])
    facts["summary"] = facts["summary"] | {"bytes": _size(facts["summary"]["bytes"])}
    rows = []
    for key, value in facts.items():
        nested = [(f"{key}.{part}", inner) for part, inner in value.items()] if isinstance(value, dict) else [(key, value)]
        rows += [(name, _plain(inner)) for name, inner in nested if inner not in (None, "")]
    _print_table(("", version.reference), rows)


def _stats(args: argparse.Namespace) -> None:
    from kimivl.catalog.card import contents, histograms, names
    from kimivl.catalog.fetch import read_checked
    from kimivl.catalog.statistics import read_statistics, statistics
    from kimivl.data.manifest.manifest import is_manifest

    if is_manifest(Path(args.what)):
        numbers = statistics(Path(args.what))
    else:
        catalog = _catalog(args.catalog)
        version, known = catalog.find(args.what)
        if known.state == "deleted":
            raise ValueError(f"{version.reference} was deleted; `kimivl data show {version.reference}` tells what it was")
        numbers = read_statistics(read_checked(catalog, version, "stats.json"))
    if args.json:
        print(json.dumps(numbers, ensure_ascii=False))
        return
    _print_table((args.what, ""), contents(numbers), counts=True)
    for title, rows in names(numbers):
        _print_table((title, ""), rows, counts=True)
    for title, bars in histograms(numbers):
        _print_bars(title, bars)


def _diff(args: argparse.Namespace) -> None:
    from kimivl.catalog.diff import diff
    from kimivl.catalog.fetch import opened

    catalog = _catalog(args.catalog)
    with opened(catalog, args.before) as before, opened(catalog, args.after) as after:
        found = diff(before, after)
    if args.json:
        print(json.dumps(asdict(found) | {"same": found.same}, ensure_ascii=False))
        return
    kinds = (("samples", found.samples), ("originals", found.originals))
    rows = [(what, *(f"{count:,}" for count in (each.added, each.removed, each.changed, each.same))) for what, each in kinds]
    _print_table(("", "added", "removed", "changed", "same"), rows)
    for what, each in kinds:
        for kind, examples in each.names.items():
            if examples:
                more = getattr(each, kind) - len(examples)
                print(f"{what} {kind}: {', '.join(examples)}{f' and {more:,} more' if more else ''}")
    moved = [(key, f"{old:,}", f"{new:,}", f"{new - old:+,}") for key, (old, new) in found.counts.items() if old != new]
    if moved:
        _print_table(("", args.before, args.after, "change"), moved)


def _deprecate(args: argparse.Namespace) -> None:
    from kimivl.catalog.lifecycle import deprecate

    version = deprecate(_catalog(args.catalog), args.version, args.reason)
    _tell(args, {"version": version.reference, "state": "deprecated"}, f"{version.reference} is deprecated")


def _release(args: argparse.Namespace) -> None:
    from kimivl.catalog.lifecycle import release

    release(_catalog(args.catalog), args.version, args.holder)
    _tell(args, {"version": args.version, "released": args.holder}, f"{args.holder} holds {args.version} no more")


def _retire(args: argparse.Namespace) -> int | None:
    from kimivl.catalog.lifecycle import delete, planned_deletion, retire, unfinished

    catalog = _paced(args)
    if not args.delete:
        if not args.dry_run:
            retire(catalog, args.version)
        else:
            planned_deletion(catalog, args.version)  # refuses what retiring would refuse
        state = "would be retired" if args.dry_run else "is retired"
        _tell(args, {"version": args.version, "state": "retired", "dry_run": args.dry_run}, f"{args.version} {state}")
        return None
    if (draft := unfinished(catalog, args.version)) is not None:
        return _remove_draft(args, catalog, draft)
    with _lines(args) as lines:
        plan = planned_deletion(catalog, args.version, lines)
    if args.dry_run:
        _tell(args, _deletion_facts(plan, "dry_run"), _deletion_text(plan, "would be removed"))
        return None
    if not args.yes and not _agreed(_deletion_text(plan, "would be removed")):
        return 1
    with _lines(args) as lines:
        done = delete(catalog, args.version, lines)
    _tell(args, _deletion_facts(done, "deleted"), _deletion_text(done, "were removed"))
    return None


def _remove_draft(args: argparse.Namespace, catalog: "Catalog", draft: "Known") -> int | None:
    from kimivl.catalog.drafts import writers
    from kimivl.catalog.lifecycle import delete_draft

    who = writers(catalog, draft)
    written = f"; it is, or was when it was killed, written by {', '.join(who)}" if who else ""
    what = f"the unfinished {args.version} would be removed{written}"
    if args.dry_run:
        _tell(args, {"version": args.version, "state": "draft", "writers": who}, what)
        return None
    if not args.yes and not _agreed(what):
        return 1
    delete_draft(catalog, draft, dead=args.yes or bool(who))
    _tell(args, {"version": args.version, "state": "deleted"}, f"the unfinished {args.version} is removed; its number is free")
    return None


def _agreed(what: str) -> bool:
    print(what, file=sys.stderr)
    if sys.stdin.isatty() and input("Remove it? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("nothing was removed; say --yes to delete without being asked", file=sys.stderr)
    return False


def _deletion_facts(plan: "Deletion", state: str) -> dict[str, Any]:
    return asdict(plan) | {"version": plan.version.reference, "state": state}


def _deletion_text(plan: "Deletion", verb: str) -> str:
    from kimivl.catalog.versions import some

    counts = f"{len(plan.files)} files of {plan.version.reference} and {len(plan.originals):,} originals ({_size(plan.size)})"
    stays = [f"{plan.shared:,} that other versions have"] if plan.shared else []
    if plan.replaced:
        stays.append(f"{len(plan.replaced):,} that are others than were published ({some(plan.replaced)})")
    kept = f"; kept: {', '.join(stays)}" if stays else ""
    gone = f"; {plan.gone:,} were gone already" if plan.gone else ""
    folders = [folder for folder in (plan.version.root, plan.version.beside) if folder]
    return f"{counts} under {' and '.join(folders)} {verb}{kept}{gone}"


def _catalog(url: str) -> "Catalog":
    from kimivl.catalog.versions import Catalog

    return Catalog(url)


def _paced(args: argparse.Namespace) -> "Catalog":
    from kimivl.catalog.versions import Catalog

    return Catalog(args.catalog, per_second=args.requests_per_second)


@contextmanager
def _lines(args: argparse.Namespace) -> Iterator["Lines"]:
    from kimivl.eval.progress import no_lines, progress_lines

    with contextlib.nullcontext(no_lines) if args.json else progress_lines() as lines:
        yield lines


def _tell(args: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    print(json.dumps(facts, ensure_ascii=False) if args.json else text)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], counts: bool = False) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if place and counts else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _print_bars(title: str, rows: Sequence[tuple[str, int]]) -> None:
    most = max((count for _, count in rows), default=0)
    _print_table((title, "", ""), [(name, f"{count:,}", "█" * max(1, round(30 * count / most))) for name, count in rows])


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
