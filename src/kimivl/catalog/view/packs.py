"""The page of a step's packs: bars of their samples against both budgets, as the trainer will see them."""

from collections import Counter

from kimivl.catalog.view.context import NotThere, View, pack_address, sample_address
from kimivl.catalog.view.markup import Inside, Markup, tag
from kimivl.catalog.view.packing import Segment, Step
from kimivl.catalog.view.page import facts, fault, page, panel, steps
from kimivl.config.recipe import StageConfig
from kimivl.data.plan import patch_limit

SECONDS = 2.0  # of planning, before the page tells how far it is
WIDE = 1000.0  # units of a full bar
HUES = 12


def packs_page(view: View, number: int, chosen: int) -> Markup:
    """Raises: NotThere, without such a stage, step or pack."""
    packing = view.packing()
    stage = packing.stage
    if not 0 <= number < stage.steps:
        raise NotThere(f"the stage {stage.name} has {stage.steps} steps, from 0; there is no step {number}")
    title, way = f"{stage.name}, step {number:,}", [("data", "/"), (f"packs of {stage.name}", None)]
    try:
        step = packing.step(number, SECONDS)
    except (ValueError, OSError) as reason:
        return page(title, way, _ways(stage, number), fault(f"The trainer would stop before the end of step {number}: {reason}"))
    if isinstance(step, int):
        said = f"Planning: step {step:,} of {number:,} is done …"
        return page(title, way, tag("p", said, class_="lead"), tag("progress", value=step, max=number), refresh=True)
    if not 0 <= chosen < len(step.packs):
        raise NotThere(f"the packs of step {number} are 0 to {len(step.packs) - 1}; there is no pack {chosen}")
    hues = {name: f"hue-{place % HUES}" for place, name in enumerate(stage.sources)}
    bars = [_pack(view, stage, step, place, place == chosen, hues) for place in range(len(step.packs))]
    return page(
        title,
        way,
        _ways(stage, number),
        _facts(stage, step),
        panel(bars, _legend(stage, step, hues)),
        _table(view, step, chosen, hues),
    )


def _ways(stage: StageConfig, number: int) -> Markup:
    last = stage.steps - 1
    ways = steps([
        ("« first", pack_address(0) if number else None, ""),
        ("‹ step before", pack_address(number - 1) if number else None, "prev"),
        ("next step ›", pack_address(number + 1) if number < last else None, "next"),
    ])  # fmt: skip
    field = tag("input", type="number", name="step", value=number, min=0, max=last, aria_label="step")
    form = tag(
        "form", "step ", field, f" of {stage.steps:,} ", tag("button", "Go"), action="/packs", method="get", class_="search"
    )
    return tag("div", ways, form, class_="bar")


def _facts(stage: StageConfig, step: Step) -> Markup:
    segments = [segment for pack in step.packs for segment in pack]
    tokens, learned = sum(one.tokens for one in segments), sum(one.learned for one in segments)
    patches, count = sum(one.patches for one in segments), len(step.packs)
    limit = patch_limit(stage, step.number / stage.steps)
    rows: list[tuple[str, Inside]] = [
        ("samples", f"{len(segments):,} in {count} packs" if count > 1 else f"{len(segments):,} in one pack"),
        ("token budget used", f"{100 * tokens / (count * stage.pack_tokens):.1f} %"),
        ("learned", f"{learned:,} of {tokens:,} tokens"),
        ("patches", f"{patches:,} of {count * stage.pack_patches:,}"),
        ("data digest", tag("code", step.digest)),
    ]
    if limit is not None:
        rows.insert(4, ("resolution", f"at most {limit:,} patches a picture"))
    return facts(rows)


def _pack(view: View, stage: StageConfig, step: Step, place: int, chosen: bool, hues: dict[str, str]) -> Markup:
    pack = step.packs[place]
    tokens, patches = sum(one.tokens for one in pack), sum(one.patches for one in pack)
    name = tag("a", f"pack {place}", href=pack_address(step.number, place), aria_current="true" if chosen else None)
    rows = [
        _bar(view, step, pack, [one.tokens for one in pack], stage.pack_tokens, hues, "tokens"),
        tag("span", f"{tokens:,} of {stage.pack_tokens:,} tokens"),
    ]
    if patches:
        rows += [
            _bar(view, step, pack, [one.patches for one in pack], stage.pack_patches, hues, "patches"),
            tag("span", f"{patches:,} of {stage.pack_patches:,} patches"),
        ]
    return tag("div", tag("h3", name), tag("div", rows, class_="bars"), class_="pack chosen" if chosen else "pack")


def _bar(view: View, step: Step, pack: list[Segment], lengths: list[int], budget: int, hues: dict[str, str], unit: str) -> Markup:
    shapes, place = list[Inside](), 0
    for segment, length in zip(pack, lengths):
        if length:
            left, width = WIDE * place / budget, WIDE * length / budget
            title = tag("title", f"{segment.source} · {segment.sample_id} · {length:,} {unit}, {segment.learned:,} learned")
            rect = tag(
                "rect", title, class_=hues[segment.source], x=left, y=0, width=width, height=20, data_sample=segment.sample_id
            )
            shapes.append(_linked(view, step, segment, rect))
        place += length
    return tag(
        "svg", tag("rect", class_="room", x=0, y=0, width=WIDE, height=20), shapes, class_=f"packbar {unit}",
        viewBox=f"0 0 {WIDE:g} 20", preserveAspectRatio="none", role="img",
        aria_label=f"{sum(lengths):,} of {budget:,} {unit} in {sum(map(bool, lengths))} samples",
    )  # fmt: skip


def _linked(view: View, step: Step, segment: Segment, inside: Inside) -> Inside:
    """With the way to its sample, as it is seen in this step, where its source is shown."""
    entry = view.shelf.find(segment.source)
    if entry is None:
        return inside
    epoch = segment.epoch if view.stage and segment.source in view.stage.augment else None
    return tag("a", inside, href=sample_address(entry, segment.row, epoch, step.number))


def _legend(stage: StageConfig, step: Step, hues: dict[str, str]) -> Markup:
    """Sources with their share of this step's tokens and what the mixture wants now."""
    tokens = Counter[str]()
    for segment in (one for pack in step.packs for one in pack):
        tokens[segment.source] += segment.tokens
    wanted = step.weights
    total = sum(tokens.values())
    items = [
        tag("li", tag("i", class_=f"swatch {hues[name]}"), f"{name} ",
            tag("small", f"{100 * tokens[name] / total:.1f} % (mixture {100 * wanted.get(name, 0.0):.1f} %)"))
        for name in hues
        if tokens[name] or wanted.get(name)
    ]  # fmt: skip
    return tag("ul", items, class_="legend")


def _table(view: View, step: Step, chosen: int, hues: dict[str, str]) -> Markup:
    head = tag("tr", [tag("th", words, class_="number" if words in ("tokens", "learned", "patches", "row", "epoch") else None)
                      for words in ("", "sample", "source", "row", "epoch", "tokens", "learned", "patches")])  # fmt: skip
    rows = [
        tag("tr", tag("td", tag("i", class_=f"swatch {hues[one.source]}")), tag("td", _linked(view, step, one, one.sample_id)),
            tag("td", one.source),
            [tag("td", f"{value:,}", class_="number") for value in (one.row, one.epoch, one.tokens, one.learned, one.patches)],
            data_sample=one.sample_id)
        for one in step.packs[chosen]
    ]  # fmt: skip
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="segments")
    return panel(tag("h2", f"Pack {chosen}"), tag("div", table, class_="scroll"))
