"""The notebook: it runs from its first cell to its last without an error, and what is committed has been run."""

import json
import os
from pathlib import Path

import pytest
from helpers import long_test

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "main.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_committed_notebook_has_outputs_and_no_errors():
    cells = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run from top to bottom, in a new kernel"
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert "error" not in kinds and sum("image/png" in json.dumps(cell["outputs"]) for cell in cells) >= 2


def test_committed_notebook_was_interrupted_and_ended_with_the_same_bits():
    cells = {cell["id"]: json.dumps(cell.get("outputs")) for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]}
    assert "[!] Stopped at step" in cells["cell-8a"] and "[*] Resuming ram_6_8x8_1 at step" in cells["cell-8a"]
    assert cells["cell-8b"].count("True") == 3 and "False" not in cells["cell-8b"]


def test_notebook_calls_the_projects_commands_and_holds_no_logic():
    for cell in code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8"))):
        source = "".join(cell["source"])
        assert not any(word in source for word in ("def ", "for ", "while ", "if ", "import paddle\n", "try:")), source


@long_test()
@pytest.mark.skipif(not (ROOT / "data" / "mnist").is_dir() and not os.environ.get("CI"), reason="needs MNIST in ./data")
def test_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    short = {"WORK_DIR": str(tmp_path), "EPOCHS": "1", "LONGER": "2", "MORE": "--limit=6000"}
    env = {**os.environ, **short}
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute(env=env)
    outputs = {
        cell["id"]: "".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in notebook["cells"]
    }
    assert "[!] Stopped at step" in outputs["cell-8a"] and "[*] Resuming ram_6_8x8_1 at step" in outputs["cell-8a"]
    assert outputs["cell-8b"].split().count("True") == 3 and "False" not in outputs["cell-8b"]
    assert (tmp_path / "ckpt" / "ram_6_8x8_1_model_best.pdparams").exists()
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"glimpses.png", "curves.png", "catch.gif"}
    assert "[*] Caught: " in outputs["cell-22"]
