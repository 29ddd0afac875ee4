"""The Croissant file of a version: its tables described in JSON-LD, as data set search and loaders read it.

What it is: `croissant`. Paths of tables are relative, so the file is the same in every store.
What it is not: a description of originals as files; `objects` tells where they are, below a root that every store has its own of.
Facts: Croissant 1.0 of MLCommons (http://mlcommons.org/croissant/1.0), which all readers know; the tests read it back with
mlcroissant.
"""

from typing import Any

from kimivl.catalog.statistics import UNKNOWN
from kimivl.catalog.versions import Version

TYPES = {"text": "sc:Text", "whole": "sc:Integer", "yes": "sc:Boolean"}
RECORDS = {
    "samples": {
        "id": ("text", "Name of the sample."),
        "record": ("text", "The sample as JSON: a chat or a document, pictures by name."),
        "text_length": ("whole", "Characters of all its texts."),
        "where": ("text", "Where the record was read when it was indexed."),
        "licence": ("text", "SPDX, where it is known."),
        "language": ("text", "BCP 47, where it is known."),
    },
    "objects": {
        "name": ("text", "How records call the original."),
        "url": ("text", "The object that holds its bytes, relative to the root; ./ stands for `beside` of version.json."),
        "start": ("whole", "First byte in that object."),
        "length": ("whole", "Bytes in that object."),
        "deflated": ("yes", "Whether these bytes are raw deflate data."),
        "sha256": ("text", "Of these bytes."),
        "media_type": ("text", "Media type."),
        "width": ("whole", "Pixels, upright."),
        "height": ("whole", "Pixels, upright."),
        "licence": ("text", "SPDX, where it is known."),
    },
}


def croissant(version: Version) -> dict[str, Any]:
    """The JSON-LD of croissant.json. `version.files` has to name both tables."""
    known = [name for name in version.licences if name != UNKNOWN]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": version.name,
        "version": f"{version.number}.0.0",
        "description": version.note
        or f"Version {version.number} of {version.name}: samples and the originals of their pictures.",
        "datePublished": version.created,
        "license": known or [UNKNOWN],
        "citeAs": f"{version.reference}, digest {version.digest}",
        "distribution": [_file(version, name) for name in RECORDS],
        "recordSet": [_record_set(name) for name in RECORDS],
    }


def _file(version: Version, name: str) -> dict[str, Any]:
    facts = version.files[f"{name}.parquet"]
    return {
        "@type": "cr:FileObject",
        "@id": f"{name}.parquet",
        "name": f"{name}.parquet",
        "contentUrl": f"{name}.parquet",
        "contentSize": f"{facts.size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": facts.sha256,
    }


def _record_set(name: str) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": f"{name}/{column}",
            "description": about,
            "dataType": TYPES[kind],
            "source": {"fileObject": {"@id": f"{name}.parquet"}, "extract": {"column": column}},
        }
        for column, (kind, about) in RECORDS[name].items()
    ]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


# Which words of the file stand for which terms, as the specification gives them.
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key"
    " md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
).split()
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
