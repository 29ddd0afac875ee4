"""The shipped recipes load, and `recipes/a3b` carries the numbers of the report: Table 1, §2.3, §2.4, Moonlight's schedule."""

from pathlib import Path

import pytest
import yaml

from kimivl.config.model import gaussian_routed_scaling
from kimivl.config.recipe import RecipeConfig, StageConfig, load_recipe
from kimivl.optim import Phase, Schedule

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ALL = sorted(RECIPES.rglob("*.yaml"))

# Table 1: tokens of the column, sequence lengths of its stages.
TABLE_1 = {
    "vit": (2.0e12, [8192]),
    "align": (0.1e12, [8192]),
    "joint": (1.4e12, [8192]),
    "cooldown": (0.6e12, [8192]),
    "long_context": (0.3e12, [32768, 131072]),
}
VISION_TARGETS = {"alt_text", "synthetic_caption", "grounding", "ocr"}


@pytest.fixture(scope="module")
def a3b() -> RecipeConfig:
    return load_recipe(RECIPES / "a3b" / "recipe.yaml")


def stages(recipe: RecipeConfig, kind: str) -> list[StageConfig]:
    return [stage for stage in recipe.stages if stage.kind == kind]


def tokens(stage: StageConfig) -> int:
    return stage.steps * stage.packs * stage.pack_tokens


def shares(stage: StageConfig, point: int = -1) -> dict[str, float]:
    weights = stage.mixture[point].weights
    return {source: weight / sum(weights.values()) for source, weight in weights.items()}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_a_shipped_recipe_loads(path):
    assert load_recipe(path).stages


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_a_recipe_says_where_it_comes_from_what_it_costs_and_what_to_expect(path):
    text = path.read_text(encoding="utf-8")
    head = "\n".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith("#")).lower()
    for word in ("source", "cost", "expected"):
        assert word in head, f"{path.name}: the head comment has no line '{word}'"


@pytest.mark.parametrize("kind", TABLE_1)
def test_table_1_tokens_and_sequence_lengths(a3b, kind):
    expected_tokens, lengths = TABLE_1[kind]
    assert [stage.context for stage in stages(a3b, kind)] == lengths
    assert sum(tokens(stage) for stage in stages(a3b, kind)) == pytest.approx(expected_tokens, rel=1e-3)


def test_pre_training_consumes_4_4_trillion_tokens(a3b):
    assert sum(tokens(stage) for stage in a3b.stages if stage.kind in TABLE_1) == pytest.approx(4.4e12, rel=1e-3)


def test_table_1_data_of_each_stage(a3b):
    (vit,), (joint,), (cooldown,) = (stages(a3b, kind) for kind in ("vit", "joint", "cooldown"))
    assert set(shares(vit)) == VISION_TARGETS
    assert set(shares(joint)) == VISION_TARGETS | {"text", "knowledge", "interleaving", "video", "agent"}
    assert {"high_quality_text", "high_quality_multimodal", "academic_sources"} <= set(shares(cooldown))
    for stage, suffix in zip(stages(a3b, "long_context"), ("32k", "128k")):
        assert {f"long_text_{suffix}", f"long_video_{suffix}", f"long_document_{suffix}"} <= set(shares(stage))


def test_joint_pre_training_begins_with_language_only(a3b):
    (joint,) = stages(a3b, "joint")
    text = [shares(joint, point).get("text", 0.0) for point in range(len(joint.mixture))]
    assert text[0] == 1.0
    assert text == sorted(text, reverse=True) and text[-1] < 1.0


def test_question_answer_pairs_are_few_in_the_cooldown(a3b):
    (cooldown,) = stages(a3b, "cooldown")
    pairs = sum(share for source, share in shares(cooldown).items() if source.endswith("_qa") or source == "academic_sources")
    assert 0 < pairs <= 0.2


def test_long_context_is_a_quarter_long_data_and_the_rest_replays_the_stage_before(a3b):
    previous = shares(stages(a3b, "cooldown")[0])
    for stage in stages(a3b, "long_context"):
        now = shares(stage)
        fresh = sum(share for source, share in now.items() if source not in previous)
        assert fresh == pytest.approx(0.25)
        assert {source: now[source] for source in previous} == pytest.approx(
            {source: 0.75 * share for source, share in previous.items()}
        )
        previous = now


def test_nanos_long_stages_have_a_quarter_of_long_data_and_replay_the_cooldowns_mixture():
    recipe = load_recipe(RECIPES / "nano" / "recipe.yaml")
    (cooldown,) = stages(recipe, "cooldown")
    for stage in stages(recipe, "long_context"):
        replayed = shares(stage)
        assert replayed.pop(f"recall_long_{stage.context}") == pytest.approx(0.25, abs=1e-4)
        assert replayed == pytest.approx({name: 0.75 * share for name, share in shares(cooldown).items()}, abs=1e-4)


def test_nano_asks_for_every_figure_of_the_goals():
    """Their keys are those of the summary; what the recipe does not measure could not be missed."""
    recipe = load_recipe(RECIPES / "nano" / "recipe.yaml")
    settings = recipe.evaluation
    keys = [key for benchmark in settings.benchmarks for key in (benchmark.key, *benchmark.controls)]
    assert {
        "easy_vqa_test_accuracy", "easy_vqa_blind_accuracy", "easy_vqa_shuffled_accuracy", "digits_test_accuracy",
        "reading_cer.held_out_font", "reading_cer.known_fonts", "pointing_hit_rate",
    } <= set(keys)  # fmt: skip
    easy = next(benchmark for benchmark in settings.benchmarks if benchmark.key == "easy_vqa_test_accuracy")
    assert (easy.source, easy.split, easy.metric) == ("easy_vqa", "test", "exact")
    assert {key: kind for key, kind in easy.controls.items()} == {
        "easy_vqa_blind_accuracy": "blank", "easy_vqa_shuffled_accuracy": "shuffled"
    }  # fmt: skip
    joint, last_long = stages(recipe, "joint")[0], stages(recipe, "long_context")[-1]
    assert settings.text_before == joint.language and settings.text_after == last_long.name  # Table 1's three joint columns
    assert settings.needle.context == recipe.pretraining_context and {4, 16} <= set(settings.needle.multiples)
    assert settings.needle.after == last_long.name and settings.needle.before == stages(recipe, "cooldown")[0].name
    assert len(settings.muon_vs_adamw.rates) == 3


def test_nanos_joint_stage_begins_with_language_only_and_its_questions_stay_within_the_documented_shares():
    """docs/deviations.md: none at first, at most 21 % in the joint stage, 17 % in the cooldown."""
    recipe = load_recipe(RECIPES / "nano" / "recipe.yaml")
    (joint,), (cooldown,) = stages(recipe, "joint"), stages(recipe, "cooldown")
    assert {source for point in joint.mixture[:2] for source in point.weights} == {"text", "recall_short"}
    questions = [sum(v for k, v in shares(joint, point).items() if k.endswith("_qa")) for point in range(len(joint.mixture))]
    assert questions[:4] == [0, 0, 0, 0] and max(questions) == pytest.approx(0.21)
    assert sum(share for source, share in shares(cooldown).items() if source.endswith("_qa")) == pytest.approx(0.17)


def test_the_context_grows_four_times_twice_and_the_rope_base_is_reset(a3b):
    (align,), (cooldown,), (first, second) = (stages(a3b, kind) for kind in ("align", "cooldown", "long_context"))
    assert first.context == 4 * cooldown.context and second.context == 4 * first.context
    assert align.rope_theta == 50_000
    assert first.rope_theta == second.rope_theta == 800_000 == a3b.model_config_.text_config.rope_theta


def test_joint_pre_training_continues_moonlights_schedule(a3b):
    (joint,) = stages(a3b, "joint")
    warmup, main, _ = joint.schedule
    assert (warmup.steps, warmup.start, warmup.end) == (2000, 0.0, 4.2e-4)
    assert (main.start, main.end, main.shape) == (4.2e-4, 4.2e-5, "cosine")
    # 200B tokens in batches of 2048 x 8192, the rest of 5.2T in batches of 4096 x 8192.
    steps_of_5_2_trillion = 200e9 / (2048 * 8192) + (5.2e12 - 200e9) / (4096 * 8192)
    assert joint.schedule_start == warmup.steps + main.steps == pytest.approx(steps_of_5_2_trillion, abs=1)


def test_the_cooldown_has_moonlights_shape(a3b):
    (cooldown,) = stages(a3b, "cooldown")
    rise, fall = cooldown.schedule
    assert (rise.steps, rise.end, fall.end, fall.shape) == (100, 1e-4, 0.0, "linear")
    assert cooldown.balance_rate == 0.0


def rates(stage: StageConfig, *steps: int) -> list[float]:
    schedule = Schedule(Phase(**phase.model_dump()) for phase in stage.schedule)
    return [schedule.lr(stage.schedule_start + step) for step in steps]


def test_the_rates_at_steps_where_they_are_easy_to_compute(a3b):
    """Cooldown: half way up, the top, half way down, the end. SFT: a cosine is half way between its ends in the middle."""
    (cooldown,), (first, second) = stages(a3b, "cooldown"), stages(a3b, "sft")
    half = (cooldown.steps - 100) // 2
    low = cooldown.schedule[0].start
    assert rates(cooldown, 50, 100, 100 + half, cooldown.steps) == pytest.approx([(low + 1e-4) / 2, 1e-4, 5e-5, 0.0], abs=1e-7)
    assert rates(first, 0, first.steps // 2, first.steps) == pytest.approx([2e-5, 1.1e-5, 2e-6], rel=1e-3)
    rewarm = second.schedule[0].steps
    middle = rewarm + (second.steps - rewarm) // 2
    assert rates(second, 0, rewarm, middle, second.steps) == pytest.approx([2e-6, 1e-5, 5.5e-6, 1e-6], rel=1e-3)


def test_joint_sft_has_two_phases_with_the_reports_rates(a3b):
    first, second = stages(a3b, "sft")
    assert (first.context, second.context) == (32768, 131072)
    assert (first.schedule[0].start, first.schedule[-1].end) == (2e-5, 2e-6)
    assert (second.schedule[0].start, second.schedule[-1].start, second.schedule[-1].end) == (2e-6, 1e-5, 1e-6)


def test_the_weights_come_from_siglip_and_moonlight(a3b):
    (vit,), (align,) = stages(a3b, "vit"), stages(a3b, "align")
    assert a3b.imports[vit.vision].kind == "siglip"
    assert a3b.imports[align.language].kind == "moonlight"
    assert align.vision == vit.name


def test_the_caption_decoders_scale_follows_the_rule(a3b):
    decoder = a3b.caption_decoder
    rule = gaussian_routed_scaling(decoder.n_routed_experts, decoder.num_experts_per_tok)
    assert decoder.routed_scaling_factor == pytest.approx(rule, abs=2e-3)


def test_a_misspelt_key_is_refused_with_the_likely_name(tmp_path):
    values = yaml.safe_load((RECIPES / "a3b" / "recipe.yaml").read_text(encoding="utf-8"))
    values["stages"][1]["balance_rte"] = 0.0
    copy = tmp_path / "recipe.yaml"
    copy.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.yaml(.|\n)*stages\.1\.balance_rte.*did you mean 'balance_rate'"):
        load_recipe(copy)


@pytest.mark.parametrize("name", ["think", "rl", "direct"])
def test_nanos_thinking_alone_is_that_of_the_whole_recipe(name):
    whole, alone = (load_recipe(RECIPES / "nano" / file) for file in ("recipe.yaml", "thinking.yaml"))
    before = {"language", "vision", "rope_theta"}  # where it starts from, and that base's positions
    assert alone.stage(name).model_dump(exclude=before) == whole.stage(name).model_dump(exclude=before)
    assert {alone.stage("think").rope_theta, alone.stage("direct").rope_theta} == {whole.stage("long_1024").rope_theta}
    asked, of_whole = alone.evaluation.thinking, whole.evaluation.thinking
    assert (asked.source, asked.split, asked.max_new_tokens) == (of_whole.source, of_whole.split, of_whole.max_new_tokens)
