"""Answers as data: what is trained on are the very tokens that a model wrote, and a stop costs nothing."""

import json

import pytest

from kimivl.data.pieces import outline
from kimivl.data.source import Source
from kimivl.engine.engine import Engine
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Limits, NativeRollouts
from kimivl.rl.verifier import Verifier
from kimivl.train.run import Run
from kimivl.train.sampling import AnswerSampling, read_groups
from kimivl.train.vocabulary import prepare_processor

RANKS = 300  # merges of letters, so that a text has many encodings


class AnyEnding:
    """A judge for whom every response that ends by itself is right: a random policy meets that now and then."""

    def right(self, texts, truth):
        return [True] * len(texts)


@pytest.fixture
def make_sampling(make_recipe, tmp_path):
    """Answers to problems about pictures, by a model that starts at random: `make(folder, data, **sample)`."""

    def make(folder="tries", data=None, verifier=None, **sample) -> AnswerSampling:
        stage = {"name": "tries", "kind": "sample", "context": 256, "mixture": [{"weights": {"colors": 1}}]}
        stage["sample"] = {"samples": 12, "max_tokens": 100} | sample
        model = make_recipe().model_config_.with_text(vocab_size=RANKS + 256).model_dump()
        companions = {"caption_decoder": None, "text_encoder": None}
        run = Run(make_recipe(stage, model=model, tokenizer_ranks=RANKS, **companions), tmp_path / "run")
        processor = prepare_processor(run.recipe, tmp_path / "processor")
        engine = Engine(run.builder.kimi_vl(run.recipe.stages[0]), processor, 256)
        settings = run.recipe.stages[0].sample
        rollouts = NativeRollouts(engine, Limits(settings.max_tokens, settings.max_tokens, engine.context), seed=3)
        problems = Problems(Source(data or run.recipe.data, "colors"), processor)
        return AnswerSampling(run.recipe.stages[0], problems, rollouts, verifier or AnyEnding(), tmp_path / folder, seed=3)

    return make


def test_the_records_are_read_in_the_tokens_that_the_model_read_and_wrote(make_sampling):
    sampling = make_sampling()
    summary = sampling.run()
    source, processor = Source(sampling.folder.parent, "tries"), sampling.problems.processor
    groups = {group.problem: group for group in read_groups(sampling.folder)}
    assert summary["kept"] == len(source) >= 3
    differing = 0
    for row in range(len(source)):
        sample = source[row]
        response = groups[sample.id].responses[sample.meta["sampled"]["sample"]]
        encoded, prompt = processor.filled(outline(sample, processor)), sampling.problems.prompt(sample.id)
        assert encoded.ids.tolist() == [*prompt.ids.tolist(), *response.ids]
        assert (
            encoded.supervised[len(prompt.ids) :].all() and (encoded.patches == prompt.patches).all() and len(encoded.grids) == 1
        )
        differing += processor.tokenizer.encode(sample.parts[-1].text) != list(response.ids[:-1])
    assert differing  # otherwise this would show nothing


def test_pictures_are_found_through_a_link(make_sampling, data):
    sampling = make_sampling()
    sampling.run()
    (image,) = Source(sampling.folder.parent, "tries")[0].images
    assert image.image.parent == sampling.folder / "pictures" and image.image.is_file()
    assert (sampling.folder / "pictures").resolve() == (data / "colors").resolve()


def test_earlier_answers_of_a_chat_are_read_and_not_learned(make_sampling, tmp_path):
    turns = [("user", "one?"), ("assistant", "first"), ("user", "two?"), ("assistant", "second")]
    record = {"id": "c", "messages": [{"role": role, "content": text} for role, text in turns]}
    (tmp_path / "chats" / "colors").mkdir(parents=True)
    (tmp_path / "chats" / "colors" / "train.jsonl").write_text(json.dumps(record) + "\n")
    sampling = make_sampling(data=tmp_path / "chats", samples=64)
    sampling.run()
    sample, processor = Source(tmp_path, "tries")[0], sampling.problems.processor
    encoded = outline(sample, processor)
    learned = processor.tokenizer.decode(encoded.ids[encoded.supervised].tolist())
    assert "first" not in learned and sample.parts[-1].text in learned
    assert "first" in processor.tokenizer.decode(encoded.ids.tolist())


def test_a_stopped_stage_goes_on_with_the_same_answers(make_sampling, monkeypatch):
    whole = make_sampling("whole")
    whole.run()
    monkeypatch.setattr("kimivl.train.sampling.AT_ONCE", 4)
    stopped = make_sampling("parts")
    stopped.watch = lambda step, metrics: {} if step < 4 else 1 / 0  # dies after its fifth problem
    with pytest.raises(ZeroDivisionError):
        stopped.run()
    path = stopped.folder / "responses.jsonl"
    assert len(path.read_text().splitlines()) == 5 and not (stopped.folder / "train.jsonl").exists()
    path.write_text(path.read_text()[:-20])  # the fifth was on its way to disk
    resumed = make_sampling("parts")
    resumed.run()
    assert (whole.folder / "train.jsonl").read_text() == (resumed.folder / "train.jsonl").read_text()
    ids = [[[response.ids for response in group.responses] for group in read_groups(s.folder)] for s in (whole, resumed)]
    assert ids[0] == ids[1]


def test_only_so_many_problems_are_answered_as_the_stage_asks_for(make_sampling):
    sampling = make_sampling(problems=2)
    assert sampling.run()["problems"] == 2
    assert [group.problem for group in read_groups(sampling.folder)] == make_sampling("other").names[:2]
    with pytest.raises(ValueError, match=r"asks for 7 problems, but .*colors/train.jsonl has 6: lower sample.problems"):
        make_sampling(problems=7)


def test_a_model_that_is_never_right_is_named(make_sampling):
    with pytest.raises(ValueError, match="stage tries: none of 6 problems has a right response, so there is nothing to learn"):
        make_sampling(verifier=Verifier("exact"), samples=2, max_tokens=3).run()
