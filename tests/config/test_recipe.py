"""Recipes: what a file may say, what `key.path=value` changes, and errors that name file, key and fix before anything trains."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kimivl.config.base import ConfigError
from kimivl.config.recipe import RecipeConfig, load_recipe

DECODER = {
    "vocab_size": 2816, "hidden_size": 16, "intermediate_size": 16, "moe_intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 1, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
    "n_routed_experts": 1, "num_experts_per_tok": 1, "routed_scaling_factor": 1.0,
}  # fmt: skip
ENCODER = {
    "vocab_size": 2816, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
    "max_position_embeddings": 8, "projection_size": 128,
}  # fmt: skip


def stage(name: str, kind: str, **more: Any) -> dict[str, Any]:
    values = {"name": name, "kind": kind, "steps": 5, "context": 64, "pack_tokens": 128}
    return values | {"schedule": [{"steps": 5, "start": 0, "end": 1e-3}], "mixture": [{"weights": {"text": 1}}]} | more


def recipe(**changes: Any) -> dict[str, Any]:
    """Every kind of reference: text → align ← vit ← decoder, align → joint, and three imports."""
    values = {
        "name": "test", "model": "nano", "data": "data", "tokenizer_ranks": 2560, "tokenizer_sources": ["text"],
        "caption_decoder": DECODER, "text_encoder": ENCODER,
        "imports": {name: {"kind": name, "folder": "published"} for name in ("siglip", "moonlight", "kimi_vl")},
        "held_out_text": {"source": "text"},
        "stages": [
            stage("text", "text"),
            stage("decoder", "text", model="caption_decoder"),
            stage("vit", "vit", caption_decoder="decoder", vision="siglip"),
            stage("align", "align", language="text", vision="vit"),
            stage("joint", "joint", language="align", vision="align"),
        ],
        "evaluation": {
            "text_before": "text", "text_after": "joint", "muon_vs_adamw": {"stage": "text", "steps": 2, "rates": [0.1]},
            "needle": {"before": "align", "after": "joint", "context": 64},
        },
    }  # fmt: skip
    return values | changes


@pytest.fixture
def load(tmp_path):
    """Writes a recipe to a file and loads it: `load(changes of the recipe, overrides)`."""

    def load(changes: dict[str, Any] | None = None, overrides: list[str] | None = None) -> RecipeConfig:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(**changes or {})))
        return load_recipe(tmp_path / "recipe.yaml", overrides or [])

    return load


def with_stage(which: str, **changes: Any) -> dict[str, Any]:
    """What changes the recipe so that one of its stages is changed."""
    return {"stages": [values | changes if values["name"] == which else values for values in recipe()["stages"]]}


def test_a_recipe_is_read_with_its_defaults(load):
    loaded = load()
    text = loaded.stage("text")
    assert (loaded.seed, loaded.dtype, loaded.data) == (0, "auto", Path("data"))
    assert (text.packs, text.pack_patches, text.schedule_start, text.optimizer.kind, text.balance_rate) == (1, 0, 0, "muon", 1e-3)
    assert text.mixture[0].at == 0 and text.schedule[0].shape == "linear"
    assert load({"seed": 7, "model": loaded.model_config_.model_dump()}).model_config_ == loaded.model_config_


def test_the_pretraining_context_is_that_of_the_first_stage_of_the_language_model(load):
    assert load(with_stage("text", context=32)).pretraining_context == 32
    own_order = [stage("decoder", "text", model="caption_decoder", context=16), stage("text", "text", context=48)]
    assert load({"stages": own_order, "evaluation": {}}).pretraining_context == 48


def test_an_unknown_stage_is_refused_with_the_known_names(load):
    with pytest.raises(ConfigError, match="no stage named 'sft'; the stages are: text, decoder, vit, align, joint"):
        load().stage("sft")


# Files


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"recipe .*/nano\.yaml does not exist"):
        load_recipe(tmp_path / "nano.yaml")


@pytest.mark.parametrize(("text", "words"), [("a: [1, 2", "is not valid YAML"), ("- 1", "a mapping of keys"), ("", "a mapping")])
def test_a_file_that_is_no_recipe_is_named(tmp_path, text, words):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"/recipe\.yaml (must hold )?{words}"):
        load_recipe(tmp_path / "recipe.yaml")


def test_anchors_live_under_definitions(tmp_path):
    values = recipe(definitions={"unused": 1})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert load_recipe(tmp_path / "recipe.yaml").name == "test"


# Unknown and impossible values


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sed": 1}, "sed: unknown key; did you mean 'seed'"),
        (with_stage("vit", stpes=1), "stages.2.stpes: unknown key; did you mean 'steps'"),
        (with_stage("text", schedule=[{"steps": 1, "start": 0, "endd": 1}]), "stages.0.schedule.0.endd: .* did you mean 'end'"),
        (with_stage("text", mixture=[{"weight": {"a": 1}}]), "stages.0.mixture.0.weight: .* did you mean 'weights'"),
        (with_stage("text", optimizer={"momentun": 0.9}), "stages.0.optimizer.momentun: .* did you mean 'momentum'"),
        ({"imports": {"x": {"kind": "siglip", "foldr": "a", "folder": "b"}}}, "imports.x.foldr: .* did you mean 'folder'"),
        ({"evaluation": {"needel": {}}}, "evaluation.needel: unknown key; did you mean 'needle'"),
        ({"held_out_text": {"source": "text", "zzz": 1}}, "zzz: unknown key; known keys: every, samples, source, split"),
        (with_stage("text", steps=0), "stages.0: a stage of kind 'text' needs steps"),
        (with_stage("text", kind="jiont"), "stages.0.kind: Input should be 'text', 'vit'.*got 'jiont'"),
        (with_stage("text", schedule=[]), "stages.0: a stage of kind 'text' needs schedule"),
        (with_stage("text", pack_tokens=63), "stages.0: pack_tokens 63 is below context 64: the longest sample must fit"),
        (with_stage("text", mixture=[]), "stages.0: mixture must begin with a point at 0"),
        (with_stage("text", mixture=[{"at": 0.5, "weights": {"a": 1}}]), "stages.0: mixture must begin with a point at 0"),
        (with_stage("text", mixture=[{"weights": {"a": 1}}] * 2), r"stages.0: mixture points must rise, got \[0.0, 0.0\]"),
        (with_stage("text", mixture=[{"weights": {"a": 0}}]), "every mixture point needs a source with a weight above 0"),
        (with_stage("text", mixture=[{"weights": {}}]), "stages.0: every mixture point needs a source"),
        (with_stage("text", mixture=[{"weights": {"a": 2, "b": -1}}]), "mixture.0.weights.b: .*greater than or equal to 0"),
        (with_stage("text", mixture=[{"weights": {"a": float("inf")}}]), "mixture.0.weights.a: Input should be a finite number"),
        (
            with_stage("vit", resolution=[{"at": 0.5, "patches": 64}, {"at": 0, "patches": 16}]),
            r"stages.2: resolution points must rise, got \[0.5, 0.0\]",
        ),
        (with_stage("text", steps=6), "stages.0: the schedule ends 1 steps before the stage; lengthen its last phase"),
        (with_stage("text", schedule_start=2), "stages.0: the schedule ends 2 steps before the stage"),
        (with_stage("text", schedule=[{"steps": 5, "start": 0, "end": float("inf")}]), "schedule.0.end: .*finite number"),
        (with_stage("text", schedule=[{"steps": 5, "start": -1, "end": 0}]), "schedule.0.start: .*greater than or equal to 0"),
        (with_stage("text", optimizer={"momentum": 1}), "stages.0.optimizer.momentum: .*less than 1"),
        (with_stage("text", optimizer={"max_grad_norm": -1}), "stages.0.optimizer.max_grad_norm: .*greater than 0"),
        (with_stage("text", optimizer={"weight_decay": -1}), "stages.0.optimizer.weight_decay: .*greater than or equal to 0"),
        (with_stage("joint", model="caption_decoder"), "stages.4: model is caption_decoder, which only 'text' stages train"),
        ({"model": "giga"}, "unknown model preset 'giga'; known: nano, mini, a3b"),
        ({"tokenizer_folder": "x"}, "give either tokenizer_ranks .* or tokenizer_folder"),
        ({"tokenizer_ranks": None}, "give either tokenizer_ranks .* or tokenizer_folder"),
        ({"caption_decoder": None}, "stage decoder needs the recipe's caption_decoder"),
        ({"text_encoder": None}, "stage vit needs the recipe's caption_decoder and text_encoder"),
        ({"caption_decoder": DECODER | {"vocab_size": 512}}, "caption_decoder.vocab_size is 512, the model's is 2816: a run has"),
        ({"text_encoder": ENCODER | {"vocab_size": 512}}, "text_encoder.vocab_size is 512, the model's is 2816: a run has"),
        ({"text_encoder": ENCODER | {"projection_size": 64}}, "text_encoder.projection_size is 64, MoonViT's hidden_size 128"),
    ],
)
def test_a_faulty_recipe_is_refused_with_file_key_and_fix(load, changes, words):
    with pytest.raises(ConfigError, match=rf"/recipe\.yaml:(.|\n)*{words}"):
        load(changes)


NEEDLE = {"before": "align", "after": "joint", "context": 64}
COMPARISON = {"stage": "text", "steps": 2, "rates": [0.1]}
BENCHMARK = {"key": "reading_cer.held_out_font", "source": "words", "metric": "exact"}
FOLDER_NAME = "names a file or folder: use letters, digits, _ and -, with single dots only between them"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out_text": {"source": "text", "every": 0}}, "held_out_text.every: Input should be greater than 0"),
        ({"held_out_text": {"source": "text", "samples": 0}}, "held_out_text.samples: Input should be greater than 0"),
        ({"evaluation": {"needle": NEEDLE | {"items": 0}}}, "evaluation.needle.items: Input should be greater than 0"),
        ({"evaluation": {"needle": NEEDLE | {"multiples": []}}}, "evaluation.needle.multiples: .*at least 1 item"),
        ({"evaluation": {"needle": NEEDLE | {"multiples": [4, 0]}}}, "evaluation.needle.multiples.1: .*greater than 0"),
        ({"evaluation": {"needle": NEEDLE | {"context": 8}}}, "evaluation.needle.context: .*greater than or equal to 64"),
        ({"evaluation": {"muon_vs_adamw": COMPARISON | {"rates": []}}}, "evaluation.muon_vs_adamw.rates: .*at least 1 item"),
        ({"evaluation": {"muon_vs_adamw": COMPARISON | {"rates": [0]}}}, "evaluation.muon_vs_adamw.rates.0: .*greater than 0"),
        ({"evaluation": {"muon_vs_adamw": COMPARISON | {"steps": 0}}}, "evaluation.muon_vs_adamw.steps: .*greater than 0"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"max_new_tokens": 0}]}}, "benchmarks.0.max_new_tokens: .*greater than 0"),
        ({"evaluation": {"benchmarks": [BENCHMARK, BENCHMARK]}}, "'.*' is there twice"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"key": "a"}, BENCHMARK | {"key": "a.b"}]}}, "'a' is there twice, or begins"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"controls": {BENCHMARK["key"]: "blank"}}]}}, "is there twice"),
        ({"held_out_text": None}, "evaluation.text_before is measured on held-out text"),
        (with_stage("joint", rope_theta=0), "stages.4.rope_theta: Input should be greater than 0"),
        (with_stage("joint", rope_theta=float("inf")), "stages.4.rope_theta: Input should be a finite number"),
        ({"caption_decoder": DECODER | {"rope_theta": 0}}, "caption_decoder.rope_theta: Input should be greater than 0"),
        (with_stage("vit", resolution=[{"at": 0, "patches": 0}]), "stages.2.resolution.0.patches: .*greater than 0"),
        (with_stage("joint", augment={"nowhere": {"mirror": 0.5}}), "augment names nowhere, which the mixture does not"),
        (with_stage("joint", augment={"text": {"mirror": 2}}), "augment.text.mirror: .*less than or equal to 1"),
        ({"name": "../nano"}, f"name: '../nano' {FOLDER_NAME}"),
        ({"name": ""}, f"name: '' {FOLDER_NAME}"),
        (with_stage("joint", name="joint/1"), f"stages.4.name: 'joint/1' {FOLDER_NAME}"),
        (with_stage("joint", name=".."), f"stages.4.name: '..' {FOLDER_NAME}"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"key": "reading/cer"}]}}, f"benchmarks.0.key: 'reading/cer' {FOLDER_NAME}"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"key": "a..b"}]}}, f"benchmarks.0.key: 'a..b' {FOLDER_NAME}"),
        ({"evaluation": {"benchmarks": [BENCHMARK | {"controls": {"a\\b": "blank"}}]}}, FOLDER_NAME),
    ],
)
def test_a_value_that_would_only_fail_after_training_is_refused_at_once(load, changes, words):
    with pytest.raises(ConfigError, match=rf"/recipe\.yaml:(.|\n)*{words}"):
        load(changes)


def test_names_may_have_dots_and_dashes(load):
    benchmarks = [BENCHMARK | {"controls": {"reading_cer.blank": "blank"}}]
    loaded = load({"name": "nano-2.1", "evaluation": {"benchmarks": benchmarks}})
    assert (loaded.name, loaded.evaluation.benchmarks[0].key) == ("nano-2.1", "reading_cer.held_out_font")


def test_a_stage_and_a_recipe_name_the_data_that_they_read(load):
    points = [{"weights": {"text": 1, "words": 0}}, {"at": 1, "weights": {"words": 1, "photos": 1}}]
    loaded = load(with_stage("joint", mixture=points) | {"evaluation": {"benchmarks": [BENCHMARK | {"split": "test_heldout"}]}})
    assert loaded.stage("joint").sources == ("text", "words", "photos")
    assert loaded.held_out_files == (("text", "test"), ("words", "test_heldout"))


def test_a_missing_key_is_named_without_printing_the_whole_section(load):
    faulty = [{key: value for key, value in stage("text", "text").items() if key != "kind"}]
    with pytest.raises(ConfigError, match=r"\n  stages\.0\.kind: this key is missing$"):
        load({"stages": faulty})
    faulty = [{key: value for key, value in stage("text", "text").items() if key not in ("steps", "schedule")}]
    with pytest.raises(ConfigError, match=r"\n  stages\.0: a stage of kind 'text' needs steps, schedule$"):
        load({"stages": faulty})


def test_every_fault_is_told_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load({"sed": 1, "data": 3} | with_stage("text", context=-1))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == ["  data", "  stages.0.context", "  sed"]


# References


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (with_stage("align", language="txt"), "stage align: language is 'txt', which is neither an earlier stage nor an import"),
        (with_stage("align", vision="joint"), "stage align: vision is 'joint', which is neither an earlier stage nor an import"),
        (with_stage("joint", language="joint"), "stage joint: language is 'joint', which is neither"),
        (with_stage("vit", caption_decoder="coder"), "stage vit: caption_decoder is 'coder', which is neither"),
        (with_stage("joint", name="text"), "two stages or imports are named 'text'"),
        (with_stage("joint", name="siglip"), "two stages or imports are named 'siglip'"),
        (with_stage("align", language="siglip"), "stage align: language is 'siglip', which has no weights for kind 'align'"),
        (with_stage("align", language="vit"), "language is 'vit', which has no weights"),
        (with_stage("align", language="decoder"), "language is 'decoder', which has no weights"),
        (with_stage("align", vision="moonlight"), "vision is 'moonlight', which has no weights"),
        (with_stage("align", vision="decoder"), "vision is 'decoder', which has no weights"),
        (with_stage("align", caption_decoder="decoder"), "caption_decoder is 'decoder', which has no weights for"),
        (with_stage("decoder", language="text"), "stage decoder: language is 'text', which has no weights"),
        (with_stage("vit", vision="text"), "stage vit: vision is 'text', which has no weights for kind 'vit'"),
        (with_stage("vit", vision="kimi_vl"), "stage vit: vision is 'kimi_vl', which has no weights for kind 'vit'"),
        (with_stage("vit", language="text"), "stage vit: language is 'text', which has no weights for kind 'vit'"),
        (with_stage("vit", caption_decoder="text"), "stage vit: caption_decoder is 'text', which has no weights"),
        (
            {"evaluation": {"text_before": "txt"}},
            "text_before is 'txt', but the stages with a language model are: text, align, joint",
        ),
        ({"evaluation": {"text_after": "siglip"}}, "evaluation.text_after is 'siglip', but the stages with"),
        (
            {"evaluation": {"needle": {"before": "text", "after": "long", "context": 64}}},
            "evaluation.needle.after is 'long', but the stages with",
        ),
        (
            {"evaluation": {"muon_vs_adamw": {"stage": "jont", "steps": 1, "rates": [1]}}},
            "evaluation.muon_vs_adamw.stage is 'jont', but the stages with",
        ),
        ({"evaluation": {"text_before": "vit"}}, "evaluation.text_before is 'vit', but the stages with a language model are"),
        ({"evaluation": {"text_before": "decoder"}}, "text_before is 'decoder', but the stages with a language model"),
        ({"evaluation": {"muon_vs_adamw": COMPARISON | {"stage": "align"}}}, "'align', where the language model does not move"),
        (
            {"stages": recipe()["stages"][:3], "evaluation": {"benchmarks": [BENCHMARK]}},
            "the last stage, which benchmarks ask, is 'vit', but the stages with a language model are: text",
        ),
    ],
)
def test_a_reference_that_cannot_work_is_refused_before_anything_trains(load, changes, words):
    with pytest.raises(ConfigError, match=rf"/recipe\.yaml:\n  .*{words}"):
        load(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"language": "moonlight", "vision": "siglip"},
        {"language": "kimi_vl", "vision": "kimi_vl"},
        {"language": "text", "vision": "text"},
        {"language": None, "vision": None},
    ],
)
def test_weights_may_come_from_stages_imports_or_nowhere(load, changes):
    align = load(with_stage("align", **changes)).stage("align")
    assert {"language": align.language, "vision": align.vision} == changes


# Stages that shorten thoughts


def long2short(**changes: Any) -> list[dict[str, Any]]:
    """After `joint`: its average with `text`, its responses, and what learns from them; `changes` of stages by name."""
    start = {"language": "joint", "vision": "joint"}
    stages = [
        {"name": "mean", "kind": "average", "average": ["joint", "text"]},
        {
            "name": "tries", "kind": "sample", "context": 64, "mixture": [{"weights": {"problems": 1}}],
            "sample": {"max_tokens": 16}, **start,
        },
        stage("shorter", "sft", mixture=[{"weights": {"tries": 1, "text": 1}}], **start),
        stage("preferred", "dpo", mixture=[{"weights": {"tries": 1}}], dpo={"pairs": 4}, **start),
    ]  # fmt: skip
    return [*recipe()["stages"], *(values | changes.get(values["name"], {}) for values in stages)]


def test_stages_that_shorten_thoughts_say_only_what_they_need(load):
    loaded = load({"stages": long2short()})
    assert (loaded.stage("tries").sample.samples, loaded.stage("preferred").dpo.beta) == (8, 0.1)
    assert loaded.samplings == ("tries",) and not loaded.stage("mean").trains and not loaded.stage("tries").speaks
    assert RecipeConfig.model_validate_json(loaded.model_dump_json()) == loaded


ONE_SOURCE = [{"weights": {"tries": 1, "text": 1}}]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mean", {"average": None}, "a stage of kind 'average', and no other, says how under the key average: .stage, stage."),
        ("mean", {"average": ["joint"]}, "average names at least two stages, each once, got joint"),
        ("mean", {"average": ["joint", "joint"]}, "average names at least two stages, each once, got joint, joint"),
        ("mean", {"average": ["joint", "vit"]}, "mean: average names 'vit', which is no earlier stage with a whole model"),
        ("mean", {"average": ["joint", "decoder"]}, "average names 'decoder', which is no earlier"),
        ("mean", {"average": ["joint", "kimi_vl"]}, "average names 'kimi_vl', which is no earlier"),
        ("mean", {"average": ["joint", "shorter"]}, "average names 'shorter', which is no earlier"),
        ("mean", {"steps": 3, "language": "joint"}, "of kind 'average' has no use for language, steps"),
        ("tries", {"sample": {"samples": 1, "max_tokens": 3}}, "sample.samples: Input should be greater than or equal to 2"),
        ("tries", {"context": 0}, "a stage of kind 'sample' needs context"),
        ("tries", {"schedule": [{"steps": 1, "start": 0, "end": 0}]}, "'sample' has no use for schedule"),
        ("tries", {"mixture": []}, "a sample stage takes its problems from one source, but the mixture names none"),
        (
            "tries",
            {"mixture": ONE_SOURCE},
            "a sample stage takes its problems from one source, but the mixture names text, tries",
        ),
        ("tries", {"dpo": {"pairs": 1}}, "a stage of kind 'dpo', and no other, says how under the key dpo: .pairs: …."),
        ("shorter", {"language": "tries"}, "stage shorter: language is 'tries', which has no weights for kind 'sft'"),
        ("preferred", {"mixture": ONE_SOURCE}, "a dpo stage takes its pairs from one source, but the mixture names text, tries"),
        ("preferred", {"mixture": [{"weights": {"text": 1}}]}, "its pairs come from 'text', which is no earlier sample stage"),
        ("preferred", {"dpo": {"pairs": 1, "beta": 0}}, "dpo.beta: Input should be greater than 0"),
        ("tries", {"context": 65}, "stage preferred: raise its context to that of tries, which wrote the responses"),
        ("preferred", {"pack_tokens": 127}, "pack_tokens 127 is below twice the context 64: a pair must fit a pack"),
    ],
)
def test_a_stage_that_cannot_shorten_thoughts_is_refused(load, name, changes, words):
    with pytest.raises(ConfigError, match=rf"/recipe\.yaml:\n  .*{words}"):
        load({"stages": long2short(**{name: changes})})


def test_what_was_sampled_is_learned_afterwards_and_never_measured(load):
    with pytest.raises(ConfigError, match="stage shorter: its mixture names 'tries', a sample stage that comes later"):
        stages = long2short()
        load({"stages": [*stages[:-3], stages[-2], stages[-3]]})
    with pytest.raises(ConfigError, match="evaluation.text_after is 'tries', but the stages with a language model are: .*mean, "):
        load({"stages": long2short(), "evaluation": {"text_after": "tries"}})
    compared = {"muon_vs_adamw": {"stage": "preferred", "steps": 2, "rates": [0.1]}}
    with pytest.raises(ConfigError, match="muon_vs_adamw.stage is 'preferred', which does not learn the next token"):
        load({"stages": long2short(), "evaluation": compared})


# Overrides


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("seed=7", lambda r: r.seed == 7),
        ("stages.vit.steps=4", lambda r: [s.steps for s in r.stages] == [5, 5, 4, 5, 5]),
        ("stages.2.steps=4", lambda r: [s.steps for s in r.stages] == [5, 5, 4, 5, 5]),
        ("stages.joint.schedule.0.end=2e-3", lambda r: r.stage("joint").schedule[0].end == 2e-3),
        ("stages.text.mixture.0.weights.code=3", lambda r: r.stage("text").mixture[0].weights == {"text": 1, "code": 3}),
        ("stages.text.optimizer.kind=adamw", lambda r: r.stage("text").optimizer.kind == "adamw"),
        ("stages.text.schedule.0={steps: 6, start: 1, end: 0}", lambda r: r.stage("text").schedule[0].steps == 6),
        ("evaluation={}", lambda r: r.evaluation.needle is None),
        ("tokenizer_sources=[text, other]", lambda r: r.tokenizer_sources == ("text", "other")),
        ("evaluation.text_before=null", lambda r: r.evaluation.text_before is None),
        ("data=a=b/c.d", lambda r: r.data == Path("a=b/c.d")),
        ("imports.siglip.folder=x.y", lambda r: r.imports["siglip"].folder == Path("x.y")),
    ],
)
def test_an_override_changes_one_value(load, override, found):
    assert found(load(overrides=[override])) and not found(load())


def test_later_overrides_win(load):
    assert load(overrides=["seed=1", "seed=2"]).seed == 2


def test_an_override_changes_only_the_place_that_it_names_though_an_anchor_gave_others_the_same(tmp_path):
    text = yaml.safe_dump({key: value for key, value in recipe().items() if key not in ("stages", "evaluation")})
    text += """
definitions:
  rates: &rates [{steps: 5, start: 0, end: 1.0e-3}]
  size: &size {kind: text, steps: 5, context: 64, pack_tokens: 128, schedule: *rates, mixture: [{weights: {text: 1}}]}
stages:
  - {name: first, <<: *size}
  - {name: second, <<: *size}
"""
    (tmp_path / "recipe.yaml").write_text(text)
    loaded = load_recipe(tmp_path / "recipe.yaml", ["stages.first.schedule.0.end=1", "stages.second.mixture.0.weights.code=1"])
    assert [stage.schedule[0].end for stage in loaded.stages] == [1.0, 1e-3]
    assert [list(stage.mixture[0].weights) for stage in loaded.stages] == [["text"], ["text", "code"]]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "override 'seed' must look like key.path=value"),
        ("stages.sft.steps=1", "override 'stages.sft.steps=1': no item 'sft' in the list"),
        ("stages.5.steps=1", "no item '5' in the list"),
        ("stages.text.schedule.3=1", "no item '3' in the list"),
        ("data.x=1", "what stands before 'x' is a plain value and has no keys"),
        ("name.x.y=1", "what stands before 'x' is a plain value and has no keys"),
        ("seed=[1", r"the value '\[1' is not valid YAML"),
        ("seed=one", r"recipe\.yaml:\n  seed: Input should be a valid integer"),
        ("sed=1", r"recipe\.yaml:\n  sed: unknown key; did you mean 'seed'"),
        ("stage.text.steps=1", r"recipe\.yaml:\n  stage: unknown key; did you mean 'stages'"),
        ("stages.text.stpes=1", r"recipe\.yaml:\n  stages.0.stpes: unknown key; did you mean 'steps'"),
    ],
)
def test_a_bad_override_is_named(load, override, words):
    with pytest.raises(ConfigError, match=words):
        load(overrides=[override])


def test_a_recipe_survives_its_json(load):
    """A run keeps it as recipe.json and compares by it."""
    assert RecipeConfig.model_validate_json(load().model_dump_json()) == load()
