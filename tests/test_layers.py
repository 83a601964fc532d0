"""No import runs up: nn <- models <- potential <- deploy, simulate, training, importing <- report <- learn <- ...."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "allegro_dist"
FOR_ALL = {"documented", "drawing", "files", "one_voice", "tables", "versions"}  # which import nothing of ours
MAY_IMPORT = {
    **dict.fromkeys(sorted(FOR_ALL), set()),
    "config_errors": set(),
    "config_values": {"config_errors"},
    "config_training": {"config_values"},
    "config": {"config_training", "config_values"},
    "data": {"config"},
    "nn": {"config"},
    "models": {"config", "nn"},
    "potential": {"config", "nn", "models"},
    "fused_program": {"nn", "models", "potential"},
    "compiled": set(),
    "engine": {"compiled"},
    "deploy": {"config", "nn", "models", "potential", "fused_program", "compiled", "engine"},
    "training": {"config", "data", "models", "potential", "fused_program", "compiled"},
    "analysis": set(),
    "simulate": {"config", "analysis", "data", "potential", "deploy", "engine", "compiled"},
    "report": {"config", "analysis", "data", "nn", "potential", "deploy", "training", "simulate"},
    "properties": {"config", "analysis", "data", "simulate", "report"},
    "learn": {"config", "data", "simulate", "report"},
    "importing": {"config", "data", "models", "nn", "potential", "engine"},
    "cli": {"commands"},
}


def imports_of(path: Path) -> set[str]:
    """First-level parts of allegro_dist that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [node.module] if node.module != "allegro_dist" else [f"allegro_dist.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            modules = [a.name for a in node.names]
        names |= {m.split(".")[1] for m in modules if m.startswith("allegro_dist.")}
    return names


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layer_imports_only_what_is_below_it(layer):
    folder = PACKAGE / layer
    for path in folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{layer}.py"]:
        forbidden = imports_of(path) - MAY_IMPORT[layer] - {layer} - (set() if layer in FOR_ALL else FOR_ALL)
        assert not forbidden, f"{path.relative_to(PACKAGE)} imports {forbidden}"


def test_torch_jit_is_called_in_one_python_and_one_cpp_file():
    python = [p.name for p in PACKAGE.rglob("*.py") if "torch.jit." in p.read_text()]
    sources = [*(PACKAGE / "csrc").rglob("*.cpp"), *(PACKAGE.parent / "lammps_plugin").rglob("*.cpp")]
    cpp = [p.name for p in sources if "torch::jit" in p.read_text()]
    assert python == ["archive.py"]
    assert cpp == ["torchscript_evaluator.cpp"]


def test_pair_style_includes_no_torch_header():
    for path in (PACKAGE.parent / "lammps_plugin").iterdir():
        if path.suffix in (".cpp", ".h", ".hpp"):
            assert "torch" not in "".join(line for line in path.read_text().splitlines() if line.startswith("#include"))
