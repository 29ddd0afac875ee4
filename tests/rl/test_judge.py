"""Responses are judged by what they say and by how they end."""

from dataclasses import replace

from kimivl.rl.judge import JudgedGroup, answers, judge
from kimivl.rl.rollout import Response
from kimivl.rl.verifier import Verifier


def test_only_an_answer_that_says_the_truth_and_ends_by_itself_is_right(problems, processor):
    tokenizer = processor.tokenizer
    seven, three = ((*tokenizer.encode(text), tokenizer.im_end_id) for text in ("seven", "three"))
    group = [Response("p3", 0, 0, seven, finish="stop"), Response("p3", 0, 1, three, finish="stop")]
    group += [Response("p3", 0, 2, seven[:-1], finish="length"), Response("p3", 0, 3, seven[:-1], finish="repeat")]
    (judged,) = judge([group], problems, Verifier("exact"))
    assert judged.right == (True, False, False, False) and judged.texts == ("seven", "three", "seven", "seven")
    assert (judged.problem, judged.truth, judged.responses) == ("p3", "seven", tuple(group))


def test_every_problem_gets_its_answers_and_they_survive_their_json(problems, rollouts):
    groups = answers(["p2", "p0"], 3, problems, rollouts(max_tokens=5), Verifier("exact"))
    assert [(group.problem, group.truth, len(group.responses)) for group in groups] == [("p2", "2", 3), ("p0", "0", 3)]
    assert all(response.finish and len(response.ids) <= 5 for group in groups for response in group.responses)
    assert [JudgedGroup.from_json(group.to_json()) for group in groups] == groups


def test_answers_do_not_depend_on_what_else_is_asked(problems, rollouts):
    together = answers(["p1", "p2"], 2, problems, rollouts(), Verifier("exact"))
    alone = answers(["p2"], 2, problems, rollouts(), Verifier("exact"))
    assert [response.ids for response in together[1].responses] == [response.ids for response in alone[0].responses]


def test_what_the_end_of_the_context_cuts_off_is_finished_by_length(problems, rollouts, prompts):
    writer = rollouts(max_tokens=400)
    writer.engine.context = len(prompts["p0"].ids) + 4
    writer.limits = replace(writer.limits, context=writer.engine.context)
    (group,) = answers(["p0"], 4, problems, writer, Verifier("exact"))
    assert {len(response.ids) for response in group.responses if response.finish == "length"} == {4}
