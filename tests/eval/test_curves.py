"""Curves come from the stages' metrics, stage after stage."""

from kimivl.eval import curves
from kimivl.eval.charts import Band


def test_points_skip_steps_without_the_value():
    lines = [{"step": 0, "loss": 3.0}, {"step": 1, "loss": 2.0, "held_out_text_loss": 2.5}]
    assert curves.points(lines, "loss", 10) == [(10, 3.0), (11, 2.0)]
    assert curves.points(lines, "held_out_text_loss") == [(1, 2.5)]


def test_stages_stand_one_after_the_other(run):
    stages = curves.language_stages(run)
    # neither MoonViT's stage nor the caption decoder's
    assert [stage.name for stage in stages] == ["text", "align", "joint", "long", "sft", "direct", "think", "rl"]
    points, bands = curves.chained(run, stages, "held_out_text_loss")
    assert [step for step, _ in points] == list(range(14))  # a policy's stage does not follow the text
    assert bands[1] == Band("align", 2, 4) and bands[-1] == Band("rl", 14, 16)


def test_a_stage_has_a_line_for_each_source_and_one_for_all(run):
    stage = run.recipe.stage("joint")
    series = curves.loss_by_source(curves.metrics_of(run, stage), curves.style_of_sources(run))
    assert {one.name for one in series} == {"text", "recall", "captions", "all"} and series[-1].name == "all"


def test_families_share_a_colour_and_members_differ_by_dash(recipe):
    class Fake:
        pass

    run = Fake()
    mixture = (recipe.stages[0].mixture[0].model_copy(update={"weights": {"words": 1, "text": 1, "words_chat": 1}}),)
    run.recipe = recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update={"mixture": mixture}),)})
    styles = curves.style_of_sources(run)
    assert styles["words"][0] == styles["words_chat"][0] != styles["text"][0]
    assert styles["words"][1] != styles["words_chat"][1] and len(set(styles.values())) == 3
