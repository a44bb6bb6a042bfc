"""What is only counted and compared needs no PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from madrnet_timm.training.stored import compare_runs, held_out_predictions
from madrnet_timm.evaluation import comparison, controls, domain, figures
from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
first, second = map(Path, sys.argv[1:])
rows = held_out_predictions(first)
names = sorted({row["label"] for row in rows})
print(summary_table(summarize_predictions(rows, names)))
print("difference:", compare_runs(first, second))
print("imported:", *sorted({"torch", "timm", "accelerate"} & sys.modules.keys()))
"""


def test_summary_and_comparison_of_stored_predictions_import_no_torch():
    results = Path(__file__).parents[2] / "docs" / "results"
    tables = [results / "hushem-plain.csv", results / "hushem-madrnet.csv"]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *tables], env=os.environ | {"MADRNET_WITHOUT_MODELS": "1"},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert "pooled:" in run.stdout
    assert "difference:" in run.stdout
    assert run.stdout.splitlines()[-1] == "imported:"
