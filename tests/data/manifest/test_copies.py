"""Copies of one manifest, in stores with etags and roots of their own, are one manifest; each still tells its own."""

from kimivl.data.manifest.manifest import Manifest
from kimivl.data.manifest.schema import write_manifest


def test_copies_have_one_digest_and_are_not_taken_for_each_other(tmp_path):
    row = {
        "name": "1.png", "url": "1.png", "start": 0, "length": 9, "deflated": False, "sha256": "0" * 64,
        "media_type": "image/png", "width": 8, "height": 8,
    }  # fmt: skip
    sample = {
        "id": "s",
        "record": '{"id": "s", "content": [{"type": "image", "image": "1.png"}, {"type": "text", "text": "A cat."}]}',
        "pictures": [{"object": 0, "frame": None}], "text_length": 6, "where": "train.jsonl:1",
    }  # fmt: skip
    for store in ("near", "far"):
        write_manifest(tmp_path / store, [row | {"version": f"etag of {store}"}], [sample], f"s3://{store}/")
    near, far = (Manifest(tmp_path / store, tmp_path / "cache") for store in ("near", "far"))
    assert near.digest == far.digest
    for manifest, store in ((near, "near"), (far, "far")):
        place = manifest[0].images[0].image.place
        assert (place.version, place.url) == (f"etag of {store}", f"s3://{store}/1.png")
    write_manifest(tmp_path / "other", [row | {"version": "", "sha256": "1" * 64}], [sample], "s3://near/")
    assert Manifest(tmp_path / "other", tmp_path / "cache").digest != near.digest
