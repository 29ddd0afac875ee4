"""Answers equal the definition (the whole text read anew for every token), however prompts are batched and streamed."""

import dataclasses

import pytest
import torch

from kimivl.config.base import ConfigError
from kimivl.engine import engine as engine_module
from kimivl.engine.engine import Engine, cast_weights
from kimivl.engine.sampler import Sampling
from kimivl.model.atomic import replaced_folder
from kimivl.model.layout import save_model
from kimivl.ops.segments import Segments
from kimivl.processor.image import ImageProcessor

# Hot enough that a token in a hundred closes an answer, so rows leave the batch at many moments.
HOT = Sampling(max_new_tokens=60, temperature=4.0, top_p=0.98, seed=5)


@torch.inference_mode()
def greedy_without_cache(engine, prompt, tokens: int) -> list[int]:
    """The definition: every token from a new reading of all the text before it."""
    tokenizer = engine.processor.tokenizer
    allowed = [*range(tokenizer.n_ranks), tokenizer.eos_id, tokenizer.im_end_id]
    ids = prompt.ids.tolist()
    patches, grids = torch.from_numpy(prompt.patches), [tuple(grid) for grid in prompt.grids.tolist()]
    for _ in range(tokens):
        output = engine.model(torch.tensor(ids), Segments([len(ids)]), patches, grids)
        logits = engine.model.language_model.logits(output.hidden_TD[-1:])[0]
        ids.append(max(allowed, key=lambda id: float(logits[id])))
        if ids[-1] in (tokenizer.eos_id, tokenizer.im_end_id):
            break
    return ids[len(prompt.ids) :]


def test_greedy_answers_equal_reading_everything_anew_for_every_token(engine, prompts):
    for completion, prompt in zip(engine.generate(prompts, Sampling(max_new_tokens=20)), prompts):
        assert completion.ids == greedy_without_cache(engine, prompt, 20)


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=40), HOT])
def test_answers_do_not_depend_on_the_batch(engine, prompts, sampling, monkeypatch):
    together = engine.generate(prompts * 2, sampling)
    monkeypatch.setattr(engine_module, "BATCH_ROWS", 4)
    assert engine.generate(prompts * 2, sampling) == together
    monkeypatch.setattr(engine_module, "BATCH_TOKENS", 1)  # every prompt alone
    assert engine.generate(prompts * 2, sampling) == together


def test_rows_leave_when_their_answer_ends(engine, prompts):
    completions = engine.generate(prompts * 4, HOT)
    stops = engine.processor.tokenizer.stop_ids
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    for completion in completions:
        assert not stops & set(completion.ids[:-1])
        assert (completion.finish_reason == "stop") == (completion.ids[-1] in stops)
        assert completion.finish_reason == "stop" or len(completion.ids) == 60
        assert "<|" not in completion.text and "[EOS]" not in completion.text


def test_greedy_repetitions_of_a_prompt_are_equal_and_sampled_ones_are_not(engine, prompts):
    greedy = engine.generate([prompts[0]] * 4, Sampling(max_new_tokens=12))
    assert all(completion == greedy[0] for completion in greedy)
    sampled = engine.generate([prompts[0]] * 4, Sampling(max_new_tokens=12, temperature=1.0))
    assert len({tuple(completion.ids) for completion in sampled}) == 4
    assert sampled == engine.generate([prompts[0]] * 4, Sampling(max_new_tokens=12, temperature=1.0))
    assert sampled != engine.generate([prompts[0]] * 4, Sampling(max_new_tokens=12, temperature=1.0, seed=1))


def test_pictures_reach_their_own_prompts(engine, new_prompt, new_picture):
    prompts = [new_prompt("what?" * (seed % 3), new_picture(seed)) for seed in range(9)]
    answers = [completion.ids for completion in engine.generate(prompts, Sampling(max_new_tokens=8))]
    assert answers == [engine.generate([prompt], Sampling(max_new_tokens=8))[0].ids for prompt in prompts]
    assert len({tuple(ids) for ids in answers}) > 1


@pytest.mark.parametrize("name", ["[EOS]", "<|im_end|>"])
def test_both_closing_tokens_end_an_answer(scripted, new_prompt, processor, name):
    letters = processor.tokenizer.encode("red", spelled=True)
    engine = scripted([*letters, processor.tokenizer.special(name), *letters])
    (completion,) = engine.generate([new_prompt("what?")], Sampling())
    assert completion.ids == [*letters, processor.tokenizer.special(name)]
    assert (completion.text, completion.finish_reason) == ("red", "stop")


def test_every_position_has_its_own_draw(engine, new_prompt, monkeypatch):
    tokenizer = engine.processor.tokenizer
    equal = torch.zeros(tokenizer.vocab_size)
    equal[list(tokenizer.stop_ids)] = -100
    monkeypatch.setattr(engine.model.language_model, "logits", lambda hidden_BD: equal.repeat(len(hidden_BD), 1))
    (completion,) = engine.generate([new_prompt("hello")], Sampling(max_new_tokens=50, temperature=1.0))
    assert len(set(completion.ids)) > 35  # of 300 equally likely tokens


NEVER = ["[PAD]", "[UNK]", "[BOS]", "<|media_pad|>", "<|media_start|>", "<|im_user|>", "<|reserved_token_340|>"]


@pytest.mark.parametrize("name", NEVER)
def test_tokens_that_are_not_part_of_an_answer_are_never_chosen(scripted, new_prompt, processor, name):
    engine = scripted([processor.tokenizer.special(name)] * 3)
    (completion,) = engine.generate([new_prompt("what?")], Sampling(max_new_tokens=3))
    assert all(id < processor.tokenizer.n_ranks for id in completion.ids)


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=40), HOT])
def test_a_stream_is_the_generated_text(engine, prompts, sampling):
    for prompt in prompts[:3]:
        assert "".join(engine.stream(prompt, sampling)) == engine.generate([prompt], sampling)[0].text


def test_streamed_pieces_are_whole_characters(scripted, new_prompt, processor):
    text = "né 床 👩‍🚀!"
    ids = processor.tokenizer.encode(text, spelled=True)  # one token a byte
    pieces = list(scripted([*ids, processor.tokenizer.im_end_id]).stream(new_prompt("what?"), Sampling()))
    assert pieces == list(text)


def test_a_character_that_is_never_finished_shows_at_the_end(scripted, new_prompt, processor):
    ids = processor.tokenizer.encode("a床", spelled=True)[:3]
    engine = scripted([*ids, processor.tokenizer.im_end_id, *ids, processor.tokenizer.im_end_id])
    pieces = list(engine.stream(new_prompt("what?"), Sampling()))
    assert pieces == ["a", "\ufffd"]
    assert "".join(pieces) == engine.generate([new_prompt("what?")], Sampling())[0].text


def test_closing_a_stream_stops_the_work(engine, new_prompt, monkeypatch):
    steps = []
    decode = engine.model.language_model.decode
    monkeypatch.setattr(engine.model.language_model, "decode", lambda *inputs: steps.append(1) or decode(*inputs))
    stream = engine.stream(new_prompt("hello"), Sampling(max_new_tokens=100))
    next(stream), next(stream)
    done = len(steps)
    stream.close()
    assert len(steps) == done < 99
    assert list(stream) == []


def test_the_caller_of_a_stream_may_train_between_pieces(engine, new_prompt):
    for _ in engine.stream(new_prompt("hello"), Sampling(max_new_tokens=3)):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_picture_is_encoded_once_for_all_calls(engine, prompts, monkeypatch):
    calls = []
    encode = engine.model.image_features
    monkeypatch.setattr(engine.model, "image_features", lambda patches, grids: calls.append(len(grids)) or encode(patches, grids))
    engine.generate(prompts, Sampling(max_new_tokens=2))
    engine.generate(prompts, Sampling(max_new_tokens=2))
    "".join(engine.stream(prompts[0], Sampling(max_new_tokens=2)))
    assert calls == [4]


def test_the_context_holds_prompt_and_answer_together(processor, new_model, new_prompt):
    prompt = new_prompt("hello")
    length = len(prompt.ids)
    for room in (1, 5):
        engine = Engine(new_model(), processor, context=length + room)
        (completion,) = engine.generate([prompt], Sampling(max_new_tokens=50, temperature=1.0))
        assert (len(completion.ids), completion.finish_reason) == (room, "length")
    engine = Engine(new_model(max_position_embeddings=length), processor)
    with pytest.raises(ValueError, match=rf"prompt 1 has {length} tokens.* context is {length}"):
        engine.generate([new_prompt(""), prompt])
    with pytest.raises(ValueError, match=rf"{length} tokens"):
        engine.stream(prompt)  # at once, not at the first piece


def test_the_error_tells_what_pictures_cost(processor, new_model, new_prompt, new_picture):
    engine = Engine(new_model(max_position_embeddings=64), processor)
    with pytest.raises(ValueError, match="100 of them for images"):
        engine.generate([new_prompt("what?", new_picture(0, (80, 80)))])


def test_progress_counts_every_prompt_once(engine, prompts, monkeypatch):
    monkeypatch.setattr(engine_module, "BATCH_ROWS", 2)
    finished = []
    engine.generate(prompts, Sampling(max_new_tokens=1), finished.append)
    assert finished == [2, 2, 2]
    assert engine.generate([], Sampling()) == []


def test_damaged_weights_are_an_error_not_an_answer(engine, new_prompt):
    with torch.no_grad():
        engine.model.language_model.model.norm.weight[3] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        engine.generate([new_prompt("hello")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_processor": ImageProcessor(patch_size=14)}, "patches of 14 pixels.* expects 4 pixels"),
        ({"model": {"vocab_size": 600}}, "556 tokens but the model 600"),
    ],
)
def test_a_processor_of_another_model_is_refused(processor, new_model, change, message):
    model = new_model(**change.pop("model", {}))
    with pytest.raises(ValueError, match=message):
        Engine(model, dataclasses.replace(processor, **change))


def test_casting_the_weights_once_changes_no_bit(new_model, prompts, processor):
    model = new_model(torch.bfloat16)
    for parameter in model.parameters():  # gains start at one and biases at zero, which bf16 holds exactly
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(len(parameter), generator=torch.Generator().manual_seed(0))
    prompt = prompts[2]
    inputs = torch.from_numpy(prompt.ids), Segments([len(prompt.ids)]), torch.from_numpy(prompt.patches), prompt.grids.tolist()
    inputs = (*inputs[:3], [tuple(grid) for grid in inputs[3]])
    with torch.inference_mode():
        before = model.language_model.logits(model(*inputs).hidden_TD)
        cast_weights(model)
        after = model.language_model.logits(model(*inputs).hidden_TD)
    assert torch.equal(before, after)
    assert model.language_model.lm_head.weight.dtype == torch.bfloat16
    assert model.language_model.model.layers[1].mlp.gate.weight.dtype == torch.float32


def test_a_saved_model_answers_as_before(engine, processor, prompts, tmp_path):
    with replaced_folder(tmp_path / "model") as folder:
        save_model(engine.model, folder)
        processor.save_pretrained(folder)
    loaded = Engine.from_pretrained(tmp_path / "model", dtype="float32")
    assert loaded.context == 512
    assert loaded.generate(prompts, Sampling(max_new_tokens=10)) == engine.generate(prompts, Sampling(max_new_tokens=10))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ConfigError, match="not a model directory"):
        Engine.from_pretrained(tmp_path)
