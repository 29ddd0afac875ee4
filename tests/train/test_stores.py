"""Training on pictures that lie in S3, inside a tar archive, is training on the same pictures as files."""

import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from kimivl.catalog.fetch import fetch
from kimivl.catalog.lifecycle import InUse, Retired, delete, release, retire
from kimivl.catalog.publish import publish
from kimivl.catalog.versions import Catalog
from kimivl.cli.run import hold_versions
from kimivl.config.store import StoreConfig
from kimivl.data.index.build import index
from kimivl.data.pieces import DamagedSample
from kimivl.data.source import Source
from kimivl.data.store.client import Client
from kimivl.data.store.errors import Missing
from kimivl.model.layout import stored_tensors
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from tests.servers import seaweed


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def in_store(server, data, tmp_path, monkeypatch):
    """A data folder as `data`, whose pictures lie in a tar archive in S3."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    root, client, bucket = tmp_path / "data", Client(server.environment), f"s3://tests/{tmp_path.name}"
    (root / "text").mkdir(parents=True)
    for path in (data / "text").iterdir():
        (root / "text" / path.name).write_bytes(path.read_bytes())
    for source in ("captions", "colors"):
        with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
            for path in sorted((data / source).glob("*.png")):
                archive.add(path, path.name)
        client.put(f"{bucket}/{source}/pictures.tar", tmp_path / "pictures.tar")
        rows = (data / source / "train.jsonl").read_text().replace('"image": "', '"image": "pictures.tar/')
        client.put(f"{bucket}/{source}/rows.jsonl", rows.encode())
        index(f"{bucket}/{source}/rows.jsonl", root / source / "train.manifest", client=client)
    return root, bucket, client


@pytest.fixture
def stages(make_stage):
    mixture = [{"weights": {"text": 1, "captions": 1, "colors": 1}}]
    return [make_stage("joint", steps=6, mixture=mixture, context=128, pack_tokens=192)]


def trained(run):
    run.train()
    return [
        {key: value for key, value in line.items() if not key.endswith("seconds") and key != "store"}
        for line in read_metrics(run.folder / "stages" / "joint" / "metrics.jsonl")
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_losses_digests_and_weights_are_those_of_the_same_pictures_as_files(make_recipe, stages, in_store, tmp_path, workers):
    root, _, _ = in_store
    files = Run(make_recipe(*stages), tmp_path / "files")
    store = StoreConfig(cache=tmp_path / "cache")
    stored = Run(make_recipe(*stages, data=root, store=store), tmp_path / "stored", workers)
    assert trained(files) == trained(stored)
    models = [dict(stored_tensors(run.folder / "stages" / "joint" / "model")) for run in (files, stored)]
    assert all(np.array_equal(tensor.numpy(), models[1][name].numpy()) for name, tensor in models[0].items())
    counts = stored.fetch.counts()
    assert 2 <= counts["gets"] <= 12 and counts["memory_hits"] > 12  # twelve pictures, of which each is fetched once
    first = read_metrics(stored.folder / "stages" / "joint" / "metrics.jsonl")[0]
    assert first["store"]["gets"] > 0 and first["store"]["throttled"] == 0
    assert stored.fingerprints.keys() == {"text", "captions", "colors"}


@pytest.mark.parametrize(
    ("fault", "words"), [("replaced", "replaced since it was indexed; index again"), ("removed", "there is no such object")]
)
def test_an_object_that_was_replaced_or_removed_stops_the_run_or_its_samples_are_left_out(
    make_recipe, make_stage, in_store, tmp_path, fault, words
):
    """As for a local file. The packs of a few steps hold some of the twelve samples of the archive."""
    root, bucket, client = in_store
    if fault == "replaced":
        client.put(f"{bucket}/captions/pictures.tar", b"another")
    else:
        client.delete(f"{bucket}/captions/pictures.tar")
    mixture = [{"weights": {"text": 3, "captions": 1}}]
    stage = make_stage("joint", steps=1, mixture=mixture, context=128, pack_tokens=192)
    recipe = make_recipe(stage, data=root, store=StoreConfig(cache=tmp_path / "cache"))
    with pytest.raises(DamagedSample, match=f"sample captions-.* of captions: .*captions/pictures.tar.*{words}"):
        Run(recipe, tmp_path / "run").train()
    run = Run(recipe, tmp_path / "run", damaged="quarantine")
    with pytest.raises(ValueError, match="every sample of the source captions is left out; give it the weight 0 instead"):
        run.train()
    assert len(run.data_log(recipe.stages[0]).until(0)) == len(Source(root, "captions"))


def test_a_bucket_that_is_not_there_leaves_out_no_sample(make_recipe, stages, in_store, tmp_path):
    root, bucket, client = in_store
    head = root / "captions" / "train.manifest" / "manifest.json"
    head.write_text(head.read_text().replace("s3://tests/", "s3://elsewhere/"))
    recipe = make_recipe(*stages, data=root, store=StoreConfig(cache=tmp_path / "cache"))
    run = Run(recipe, tmp_path / "run", damaged="quarantine")
    with pytest.raises(Missing, match="s3://elsewhere/.*no such object or bucket .*check the URL and AWS_ENDPOINT_URL"):
        run.train()
    assert not run.data_log(recipe.stages[0]).until(99)


def test_bytes_that_are_not_those_that_were_indexed_stop_the_run_or_are_left_out(make_recipe, stages, in_store, tmp_path):
    """The manifest is made to expect other bytes of one picture, as if the store had damaged them under the same version."""
    root, _, _ = in_store
    path = root / "captions" / "train.manifest" / "objects.parquet"
    table = pq.read_table(path)
    sums = table.column("sha256").to_pylist()
    sums[2] = sums[2][::-1]
    place = table.schema.get_field_index("sha256")
    pq.write_table(table.set_column(place, table.schema.field(place), [sums]), path)
    head = json.loads((path.parent / "manifest.json").read_text())
    (path.parent / "manifest.json").write_text(json.dumps(head | {"digest": "0" * 32}))
    recipe = make_recipe(*stages, data=root, store=StoreConfig(cache=tmp_path / "cache"))
    with pytest.raises(
        DamagedSample, match="sample captions-2 of captions: .*pictures.tar: bytes .* are not those that were indexed"
    ):
        Run(recipe, tmp_path / "run").train()
    run = Run(recipe, tmp_path / "run", damaged="quarantine")
    assert len(trained(run)) == 6
    (entry,) = run.data_log(recipe.stages[0]).until(99)
    assert entry.excluded.id == "captions-2" and len(entry.excluded.versions) == len(entry.excluded.sha256) == 1


def test_a_version_that_a_run_reads_cannot_be_retired_until_it_is_released(make_recipe, stages, in_store, tmp_path):
    root, _, _ = in_store
    catalog = Catalog(str(tmp_path / "catalog"))
    for source in ("captions", "colors"):
        publish(root / source / "train.manifest", catalog, source)
    fetch(catalog, "captions", root / "captions" / "train.manifest")  # the other one is the very manifest that was published
    run = Run(make_recipe(*stages, data=root), tmp_path / "run")
    hold_versions(run)
    with pytest.raises(InUse, match="colors@1 is needed by 1 run"):
        delete(catalog, "colors@1")
    with pytest.raises(InUse, match="captions@1 is needed by 1 run: .*/run; when one is over for good, say so with"):
        retire(catalog, "captions@1")
    release(catalog, "captions@1", str(run.folder.absolute()))
    retire(catalog, "captions@1")
    with pytest.raises(Retired, match="captions@1 of .* is retired: use another version"):
        hold_versions(run)
