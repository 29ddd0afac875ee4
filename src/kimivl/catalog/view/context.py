"""What all pages read: the sources, the processor, the recipe's stage.

What it is: `View`, made once by the command, and the addresses of its pages, each a state that can be kept as a link.
"""

from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import urlencode

from kimivl.catalog.view.figures import Figures, figures_of
from kimivl.catalog.view.packing import Packing
from kimivl.catalog.view.shelf import Entry, Shelf
from kimivl.config.recipe import StageConfig
from kimivl.data.log import DataLog
from kimivl.data.source import Source, Sources
from kimivl.processor.processor import Processor
from kimivl.processor.stored import Fetch


class NotThere(LookupError):
    """There is no such source, row, picture or page."""


@dataclass
class View:
    """`stage`, `seed`: of the recipe, if one is given; packs need it and a processor. `fetch`: gets bytes out of stores. `log`:
    what a run of the stage has changed about its data.
    """

    shelf: Shelf
    fetch: Fetch
    processor: Processor | None = None
    stage: StageConfig | None = None
    seed: int = 0
    log: DataLog = field(default_factory=DataLog)
    _figures: dict[int, Figures] = field(default_factory=dict)
    _packing: Packing | None = None
    _lock: Lock = field(default_factory=Lock)
    _counting: Lock = field(default_factory=Lock)

    def entry(self, index: int) -> Entry:
        if not 0 <= index < len(self.shelf.entries):
            raise NotThere(f"there are {len(self.shelf.entries)} sources, none has the number {index}")
        return self.shelf.entries[index]

    def row(self, entry: Entry, row: int) -> Source:
        """The opened source, if it has this row."""
        source = self.shelf.source(entry)
        if not 0 <= row < len(source):
            raise NotThere(f"{entry.title} has {len(source):,} rows, from 0; there is no row {row}")
        return source

    def figures(self, entry: Entry) -> Figures:
        """Counted once. Raises: OSError or ValueError naming what cannot be read."""
        with self._counting:  # two windows wait for one count
            if entry.index not in self._figures:
                self._figures[entry.index] = figures_of(entry, self.shelf.source(entry), self.processor)
            return self._figures[entry.index]

    def packing(self) -> Packing:
        """Raises: NotThere, with what has to be given, where the command named no stage that packs or no processor."""
        if self.stage is None or self.processor is None:
            raise NotThere(
                "packs need a recipe, a stage and a processor: kimivl data view DATA --recipe … --stage … --processor …"
            )
        if not self.stage.reads_packs:
            raise NotThere(f"the stage {self.stage.name} is of kind {self.stage.kind}, which does not train on packs of samples")
        with self._lock:
            if self._packing is None:
                self._packing = Packing(self.stage, self._sources(self.stage), self.processor, self.seed, self.log)
            return self._packing

    def _sources(self, stage: StageConfig) -> Sources:
        def opened(name: str) -> Source:
            entry = self.shelf.find(name)
            return self.shelf.source(entry) if entry else Source(self.shelf.root, name)

        return Sources(opened, stage.sources)


def source_address(entry: Entry, start: int = 0, query: str = "") -> str:
    return _with(f"/source/{entry.index}", start=start or None, q=query or None)


def sample_address(entry: Entry, row: int, epoch: int | None = None, step: int | None = None, start: int = 0) -> str:
    """`epoch`: as the stage sees it then; as it is stored without. `step`: whose limit of resolution holds. `start`: a token."""
    return _with(f"/sample/{entry.index}/{row}", epoch=epoch, step=step, start=start or None)


def picture_address(entry: Entry, row: int, number: int, side: int, epoch: int | None = None) -> str:
    return _with(f"/picture/{entry.index}/{row}/{number}", side=side, epoch=epoch)


def pack_address(step: int, pack: int = 0) -> str:
    return f"/packs/{step}/{pack}"


def _with(path: str, **query: str | int | None) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
