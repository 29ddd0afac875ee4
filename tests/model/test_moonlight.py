"""Moonlight equals transformers' DeepseekV3, through the official layout on disk; and decoding equals running the whole text."""

import pytest
import torch
from transformers import DeepseekV3ForCausalLM

from kimivl.model.layout import load_weights, save_weights
from kimivl.model.moonlight import LatentCache, Moonlight
from kimivl.ops.segments import Segments

LENGTHS = [7, 1, 20]


def random_ids(vocabulary: int, count: int) -> torch.Tensor:
    return torch.randint(vocabulary, (count,), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def logits_one_by_one(peer: DeepseekV3ForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    return torch.cat([peer(part[None]).logits[0] for part in ids.split(LENGTHS)])


@pytest.mark.parametrize("theta", [50_000.0, 800_000.0])
@torch.no_grad()
def test_packed_texts_give_the_logits_of_transformers(tiny, randomise, deepseek_config, tmp_path, theta):
    text = tiny.with_text(rope_theta=theta).text_config
    ours = randomise(Moonlight(text))
    save_weights(ours, tmp_path / "peer")
    deepseek_config(text).save_pretrained(tmp_path / "peer")
    peer = DeepseekV3ForCausalLM.from_pretrained(tmp_path / "peer", dtype=torch.float32).eval()

    ids = random_ids(text.vocab_size, sum(LENGTHS))
    logits = ours.logits(ours(ours.model.embed_tokens(ids), Segments(LENGTHS)).hidden_TD)
    expected = logits_one_by_one(peer, ids)
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_checkpoint_of_transformers_gives_its_logits(tiny, randomise, deepseek_config, tmp_path):
    text = tiny.text_config
    peer = randomise(DeepseekV3ForCausalLM(deepseek_config(text)).eval())
    peer.save_pretrained(tmp_path / "peer")
    ours = Moonlight(text)
    load_weights(ours, tmp_path / "peer")

    ids = random_ids(text.vocab_size, sum(LENGTHS))
    logits = ours.logits(ours(ours.model.embed_tokens(ids), Segments(LENGTHS)).hidden_TD)
    torch.testing.assert_close(logits, logits_one_by_one(peer, ids), atol=1e-4, rtol=0)


def filled_caches(latents: list, lengths: list[int], places: int) -> list[LatentCache]:
    """What a server does after prefill: each row's latents, from place 0 on; the rest holds rubbish."""
    caches = []
    for latent_TR, key_TC in latents:
        cache = LatentCache(*(torch.full((len(lengths), places, x.shape[1]), 1e4) for x in (latent_TR, key_TC)))
        for row, (latent, key) in enumerate(zip(latent_TR.split(lengths), key_TC.split(lengths))):
            cache.latent_BLR[row, : len(latent)] = latent
            cache.key_BLC[row, : len(key)] = key
        caches.append(cache)
    return caches


@torch.no_grad()
def test_decoding_after_a_prefill_equals_the_whole_text(tiny, randomise):
    model = randomise(Moonlight(tiny.text_config))
    new = 3
    texts = random_ids(320, sum(LENGTHS) + new * len(LENGTHS)).split([length + new for length in LENGTHS])
    whole = model(model.model.embed_tokens(torch.cat(texts)), Segments([len(text) for text in texts])).hidden_TD
    expected = torch.stack([row[-new:] for row in whole.split([len(text) for text in texts])], dim=1)

    prompts = torch.cat([text[:-new] for text in texts])
    caches = filled_caches(model(model.model.embed_tokens(prompts), Segments(LENGTHS)).latents, LENGTHS, places=30)
    for step in range(new):
        ids_B = torch.stack([text[step - new] for text in texts])
        hidden_BD = model.decode(model.model.embed_tokens(ids_B), torch.tensor(LENGTHS) + step, caches)
        torch.testing.assert_close(hidden_BD, expected[step], atol=1e-4, rtol=0)


@torch.no_grad()
def test_decoding_from_nothing_equals_the_whole_text(tiny, randomise):
    model = randomise(Moonlight(tiny.text_config))
    x_TD = model.model.embed_tokens(random_ids(320, 9))
    expected = model(x_TD, Segments([9])).hidden_TD
    text = tiny.text_config
    caches = [LatentCache(torch.zeros(1, 9, text.kv_lora_rank), torch.zeros(1, 9, text.qk_rope_head_dim)) for _ in range(3)]
    for place in range(9):
        hidden_BD = model.decode(x_TD[place : place + 1], torch.tensor([place]), caches)
        torch.testing.assert_close(hidden_BD[0], expected[place], atol=1e-4, rtol=0)
