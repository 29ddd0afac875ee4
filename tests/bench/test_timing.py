"""Turns and medians."""

from kimivl.bench.timing import in_turns


def test_sides_take_turns_and_the_first_round_does_not_count():
    calls: list[str] = []

    def side(name: str, values: list[float]):
        def run() -> dict[str, float]:
            calls.append(name)
            return {"step": values.pop(0)}

        return run

    medians = in_turns([side("a", [100.0, 1.0, 2.0, 9.0]), side("b", [100.0, 5.0, 4.0, 3.0])], rounds=3)
    assert medians == [{"step": 2.0}, {"step": 4.0}]
    assert "".join(calls) == "baabbaab"
