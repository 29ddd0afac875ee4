"""The next-token loss: which tokens count, how sums are formed, and what is reported."""

import math

import numpy as np
import pytest
import torch

from kimivl.data.loader import Loader
from kimivl.data.source import Source
from kimivl.model.kimi_vl import KimiVL
from kimivl.processor.chat import Provenance
from kimivl.train.run import Run
from kimivl.train.stages.language import TRAINED, language_task, mean_loss
from kimivl.train.stages.task import StepTotals
from tests.pieces import Piece, pack, pieces_of

# Ids of the byte vocabulary: the text's own bytes, then the special tokens at 256 + the official slot.
EOS, IM_END, USER, ASSISTANT, SYSTEM, MIDDLE, MEDIA_START, MEDIA_CONTENT, MEDIA_END, MEDIA_PAD = (
    256 + slot for slot in (1, 2, 3, 4, 10, 17, 18, 19, 20, 21)
)


@pytest.fixture
def model(make_recipe, make_stage, tmp_path) -> KimiVL:
    recipe = make_recipe(make_stage("joint"))
    return Run(recipe, tmp_path / "run").builder.kimi_vl(recipe.stages[0])


@pytest.fixture
def pieces(data, processor):
    """`pieces(source, rows)`: samples of the tests' data, ready to be packed."""

    def pieces(source: str, rows: range) -> list[Piece]:
        opened = Source(data, source)
        return [piece for row in rows for piece in pieces_of(opened[row], source, processor, 96)]

    return pieces


def losses_by_hand(model: KimiVL, piece: Piece) -> np.ndarray:
    """−log p of every label, one sample alone, in float64 numpy; nan where it does not count."""
    batch = pack([piece])
    with torch.no_grad():
        output = model(batch.ids_T, batch.segments, batch.patches_P, batch.grids)
        logits_TV = model.language_model.logits(output.hidden_TD).double().numpy()
    shifted_TV = logits_TV - logits_TV.max(-1, keepdims=True)
    log_TV = shifted_TV - np.log(np.exp(shifted_TV).sum(-1, keepdims=True))
    losses_T = -log_TV[np.arange(len(piece.ids)), piece.labels]
    return np.where(piece.supervised, losses_T, np.nan)


@pytest.mark.parametrize("kind", ["text", "align", "joint"])
def test_the_loss_is_the_sum_of_the_supervised_tokens_over_the_weight_of_the_step(model, pieces, kind):
    """Whatever else is in the step: here the pack is a part of a step that weighs 1000."""
    samples = pieces("text", range(3)) + pieces("captions", range(2)) + pieces("colors", range(2))
    hand = [losses_by_hand(model, piece) for piece in samples]
    result = language_task(model, kind).pack_loss(pack(samples), StepTotals(1000.0, 3, sequences=1))
    assert result.loss.item() == pytest.approx(sum(np.nansum(losses) for losses in hand) / 1000, rel=1e-6)

    for source in ("text", "captions", "colors"):
        own = np.concatenate([losses for losses, piece in zip(hand, samples) if piece.source == source])
        total, count = result.metrics[f"loss/{source}"]
        assert (total, count) == (pytest.approx(np.nansum(own), rel=1e-6), np.isfinite(own).sum())
    total, count = result.metrics["loss"]
    assert count == sum(piece.supervised.sum() for piece in samples)
    assert total == pytest.approx(1000 * result.loss.item(), rel=1e-6)


def test_every_kind_of_stage_trains_what_the_paper_says():
    """Alignment moves MoonViT and projector, text the language model, all others everything (§2.3, §2.4)."""
    everything = {"vision_tower.", "multi_modal_projector.", "language_model."}
    assert {kind: set(parts) for kind, parts in TRAINED.items()} == {
        "text": {"language_model."},
        "align": everything - {"language_model."},
        **dict.fromkeys(("joint", "cooldown", "long_context", "sft", "long_cot"), everything),
    }


def test_expert_loads_are_counted_where_the_language_model_trains(model, pieces):
    """Two mixture layers, two of four experts a token: the loads of a layer add up to twice the tokens."""
    batch = pack(pieces("text", range(3)))
    loads = language_task(model, "joint").pack_loss(batch, StepTotals(1.0, 1, sequences=1)).load_LE
    assert [int(load.sum()) for load in loads] == [2 * len(batch.ids_T)] * 2 and all(len(load) == 4 for load in loads)
    assert language_task(model, "align").pack_loss(batch, StepTotals(1.0, 1, sequences=1)).load_LE == []


def test_the_optional_balance_loss_is_a_mean_over_the_sequences_of_a_step(make_recipe, make_stage, tmp_path, pieces):
    """Its weight is α; computed here from the routers' scores of one sequence: E/K · Σ_i (share chosen)_i · (mean score)_i."""
    batch, alpha = pack(pieces("captions", range(1))), 0.5
    losses, hand = {}, 0.0
    for weight in (0.0, alpha):
        recipe = make_recipe(make_stage("joint"), model=make_recipe().model_config_.with_text(aux_loss_alpha=weight))
        model = Run(recipe, tmp_path / str(weight)).builder.kimi_vl(recipe.stages[0])
        losses[weight] = language_task(model, "joint").pack_loss(batch, StepTotals(10.0, 4, sequences=6)).loss.item()
        if weight:
            for routing in model(batch.ids_T, batch.segments, batch.patches_P, batch.grids).routings:
                scores_TE = routing.scores_TE.detach().double().numpy()
                chosen_E = np.bincount(routing.experts_TK.flatten().numpy(), minlength=4) / len(scores_TE)
                hand += float((4 / 2 * chosen_E * (scores_TE / scores_TE.sum(-1, keepdims=True)).mean(0)).sum())
    assert losses[alpha] - losses[0.0] == pytest.approx(alpha * hand / 6, rel=1e-4)


def test_a_step_has_one_loss_however_its_samples_are_packed(make_recipe, make_stage, tmp_path, pieces):
    """With the balance loss, which is a mean over sequences and not over tokens."""
    recipe = make_recipe(make_stage("joint"), model=make_recipe().model_config_.with_text(aux_loss_alpha=0.5))
    task = language_task(Run(recipe, tmp_path).builder.kimi_vl(recipe.stages[0]), "joint")
    samples = pieces("text", range(3)) + pieces("captions", range(2))
    losses = []
    for cuts in ([samples], [samples[:1], samples[1:]], [[sample] for sample in samples]):
        packs = [pack(cut) for cut in cuts]
        losses.append(sum(task.pack_loss(one, StepTotals.of(packs)).loss.item() for one in packs))
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-5)


def test_alignment_ignores_the_balance_loss_of_the_frozen_routers(make_recipe, make_stage, tmp_path, pieces):
    batch, losses = pack(pieces("captions", range(2))), []
    for alpha in (0.0, 0.5):
        recipe = make_recipe(make_stage("joint"), model=make_recipe().model_config_.with_text(aux_loss_alpha=alpha))
        model = Run(recipe, tmp_path / str(alpha)).builder.kimi_vl(recipe.stages[0])
        losses.append(language_task(model, "align").pack_loss(batch, StepTotals(10.0, 1, sequences=1)).loss.item())
    assert losses[0] == losses[1]


def test_alignment_reports_the_loss_of_the_text_behind_the_image_alone(model, pieces):
    """By hand: of a captioned picture the labels from the token behind <|media_end|> on; nothing of a text."""
    samples = pieces("captions", range(2)) + pieces("text", range(1)) + pieces("captions", range(2, 3))
    behind = []
    for piece in samples:
        if MEDIA_END in piece.ids:
            start = int(np.flatnonzero(piece.ids == MEDIA_END)[-1])
            color = bytes(piece.labels[start:-1].tolist()).decode()
            assert color in ("red", "lime", "blue") and piece.labels[-1] == EOS
            behind.append(losses_by_hand(model, piece)[start:])
    metrics = language_task(model, "align").pack_loss(pack(samples), StepTotals(1000.0, 1, sequences=1)).metrics
    hand = np.concatenate(behind)
    assert metrics["loss_behind_images"] == (pytest.approx(hand.sum(), rel=1e-6), len(hand))
    joint = language_task(model, "joint").pack_loss(pack(samples), StepTotals(1000.0, 1, sequences=1))
    assert "loss_behind_images" not in joint.metrics


def test_fine_tuning_learns_only_answers_and_special_tokens(make_recipe, make_stage, data, processor):
    """A pack of conversations, its tokens told apart by their ids: special ones ≥ 256, and the bytes of the answers."""
    stage = make_recipe(make_stage("sft")).stages[0]
    batch = Loader(stage, {"colors": Source(data, "colors")}, processor, 0).packs(0)[0]
    assert len(batch.sample_ids) == 2
    segments = zip(batch.labels_T.split(batch.segments.lengths), batch.weights_T.split(batch.segments.lengths))
    colors = ["red", "lime", "blue", "black", "red", "blue"]
    for sample_id, (labels_T, weights_T) in zip(batch.sample_ids, segments):
        learned = labels_T[weights_T == 1].tolist()
        answer = list(colors[int(sample_id.split("-")[1])].encode())
        # [SYSTEM's header is an input only] … each turn: its header's <|im_middle|>, its end, the next turn's opening.
        media = [MEDIA_START, MEDIA_CONTENT, MEDIA_END]
        assert learned == [MIDDLE, IM_END, USER, MIDDLE, *media, IM_END, ASSISTANT, MIDDLE, *answer, IM_END]
        ignored = labels_T[weights_T == 0].tolist()
        assert bytes(id for id in ignored if id < 256) == b"systemYou are a helpful assistantuserimageWhat?assistant"
        assert {id for id in ignored if id >= 256} == {MEDIA_PAD}


def test_weights_follow_the_provenance_of_the_token_to_be_predicted(data, processor):
    source = Source(data, "colors")
    encoded = processor.encode_chat(source[0].messages)
    batch = pack(pieces_of(source[0], "colors", processor, 96))
    learned = (encoded.provenance == Provenance.ANSWER) | ((encoded.ids >= 256) & (encoded.ids != MEDIA_PAD))
    assert batch.weights_T.tolist() == learned[1:].astype(float).tolist()
    assert batch.labels_T.tolist() == encoded.ids[1:].tolist() and batch.ids_T.tolist() == encoded.ids[:-1].tolist()


def test_system_and_user_text_have_no_gradient_as_targets(model, pieces):
    """A pack whose every label is unsupervised but one gives the loss of that one."""
    (piece,) = pieces("colors", range(1))
    only = np.zeros_like(piece.supervised)
    only[-1] = True
    changed = Piece(piece.source, piece.sample_id, piece.ids, piece.labels, only, piece.patches, piece.grids)
    assert piece.labels[-1] == IM_END
    result = language_task(model, "sft").pack_loss(pack([changed]), StepTotals(1.0, 1, sequences=1))
    assert result.loss.item() == pytest.approx(losses_by_hand(model, piece)[-1], rel=1e-6)


def test_the_held_out_loss_is_the_mean_over_all_tokens_of_all_packs(model, pieces):
    samples = pieces("text", range(5))
    hand = np.concatenate([losses_by_hand(model, piece) for piece in samples])
    for packs in ([samples], [samples[:1], samples[1:]]):
        assert mean_loss(model, [pack(each) for each in packs]) == pytest.approx(np.nanmean(hand), rel=1e-6)
    assert np.nanmean(hand) == pytest.approx(math.log(512), rel=0.05)  # nothing is learned yet


def test_following_a_loss_leaves_no_gradient(model, pieces):
    mean_loss(model, [pack(pieces("text", range(2)))])
    assert all(parameter.grad is None for parameter in model.parameters())
