"""What is built becomes visible as a whole, and pictures are known by their pixels."""

import numpy as np
import pytest
from PIL import Image

from kimivl.curate.records import document
from kimivl.curate.workshop import Workshop, pixel_hash, plain_text, read_records


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8))


def test_nothing_is_visible_before_it_is_published(tmp_path):
    with Workshop(tmp_path, "toy", seed=0) as shop:
        shop.write("toy", "train", [document("1", "text")])
        assert not (tmp_path / "toy").exists()
        shop.publish(["toy"])
    assert read_records(tmp_path / "toy" / "train.jsonl") == [{"id": "1", "content": "text"}]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_what_was_not_listed_or_not_built_is_named(tmp_path):
    with Workshop(tmp_path, "toy", seed=0) as shop:
        shop.write("toy", "train", [document("1", "text")])
        with pytest.raises(ValueError, match=r"lists \['other', 'toy'\] but built \['toy'\]"):
            shop.publish(["toy", "other"])


def test_a_shared_picture_is_the_owners_and_known_by_both_paths(tmp_path):
    with Workshop(tmp_path, "toy", seed=0) as shop:
        shop.save_image("toy", "a", noise(0))
        path = shop.share_image("chat", "a", owner="toy")
        shop.publish(["toy", "chat"])
    assert path == "images/a.png"
    first, second = (tmp_path / source / "images" / "a.png" for source in ("toy", "chat"))
    assert first.read_bytes() == second.read_bytes()
    assert shop.pixel_hashes[first] == shop.pixel_hashes[second] == pixel_hash(noise(0))


def test_the_hash_is_blind_to_the_file_and_sees_every_pixel_and_the_shape(tmp_path):
    picture = noise(1)
    picture.save(tmp_path / "a.png", compress_level=9)
    with Image.open(tmp_path / "a.png") as again:
        assert pixel_hash(again) == pixel_hash(picture)
    changed = picture.copy()
    changed.putpixel((3, 3), (1, 2, 3))
    assert pixel_hash(changed) != pixel_hash(picture)
    assert pixel_hash(Image.new("RGB", (4, 8))) != pixel_hash(Image.new("RGB", (8, 4)))


def test_randomness_depends_on_seed_source_and_item_alone(tmp_path):
    first, second, other = (Workshop(tmp_path, "toy", seed=seed) for seed in (0, 0, 1))
    first.rng("words", 3).random()
    draws = [shop.rng("words", 4).random() for shop in (first, second, other)]
    assert draws[0] == draws[1] != draws[2] and first.rng("words", 5).random() != draws[0]


def test_small_builds_keep_a_few_of_everything(tmp_path):
    shop = Workshop(tmp_path, "toy", seed=0, scale=0.01)
    assert (shop.count(1000), shop.count(10), shop.count(10, least=1)) == (10, 4, 1)


def test_plain_text_leaves_pictures_out():
    parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert plain_text({"content": parts}) == "ab"
    assert plain_text({"messages": [{"content": "q"}, {"content": parts}]}) == "q\nab"
