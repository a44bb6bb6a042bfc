"""What is only counted and compared needs no PyTorch."""

import subprocess
import sys
from pathlib import Path

import madrnet_timm

# the package itself registers its models with timm, which imports PyTorch: a bare one takes its place
SCRIPT = """
import sys, types
from pathlib import Path
package = types.ModuleType("madrnet_timm")
package.__path__ = [sys.argv[1]]
sys.modules["madrnet_timm"] = package
from madrnet_timm.training.stored import compare_runs, held_out_predictions
from madrnet_timm.evaluation import comparison, controls, domain, figures
from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
first, second = map(Path, sys.argv[2:])
rows = held_out_predictions(first)
names = sorted({row["label"] for row in rows})
print(summary_table(summarize_predictions(rows, names)))
print("difference:", compare_runs(first, second))
print("imported:", *sorted({"torch", "timm", "accelerate"} & sys.modules.keys()))
"""


def test_summary_and_comparison_of_stored_predictions_import_no_torch():
    package = Path(madrnet_timm.__file__).parent
    results = package.parents[1] / "docs" / "results"
    tables = [results / "hushem-plain.csv", results / "hushem-madrnet.csv"]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, package, *tables], capture_output=True, text=True, check=True, timeout=300
    )
    assert "pooled:" in run.stdout
    assert "difference:" in run.stdout
    assert run.stdout.splitlines()[-1] == "imported:"
