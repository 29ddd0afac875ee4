"""A run's summary."""
import json
from kimivl.eval.summary import measure_run


def test_x(run):
    s = measure_run(run)
    print(json.dumps(s, indent=1))
