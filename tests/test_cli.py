"""The command line: a run from data to archive, and one-line errors."""

import json

import pytest
from ase.calculators.emt import EMT
from ase.io import write

from allegro_dist.cli import main
from tests.conftest import bulk


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on copper frames labelled by ASE's EMT."""
    folder = tmp_path_factory.mktemp("cli")
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    write(folder / "train.xyz", frames)
    assert main(["dataset", "build", str(folder / "near.h5"), str(folder / "train.xyz"), "--r-max", "3"]) == 0
    foreign = frames[0].copy()
    foreign.symbols[1] = "Au"
    foreign.calc = frames[0].calc
    write(folder / "foreign.xyz", [frames[0], foreign])
    (folder / "config.yaml").write_text(
        f"data: {{train: {folder / 'train.xyz'}}}\nrun: {{dir: {folder / 'run'}}}\n"
        "model: {num_scalar_features: 8, num_tensor_features: 4, l_max: 1, r_max: 4.0}\ntraining: {max_epochs: 3}\n"
    )
    assert main(["train", str(folder / "config.yaml"), "training.batch_size=4"]) == 0
    return folder


def test_train_evaluate_deploy_inspect(run, capsys):
    archive = str(run / "model.pth")
    assert main(["deploy", str(run / "run"), "-o", archive]) == 0
    assert main(["evaluate", archive, str(run / "train.xyz"), "--json", str(run / "a.json")]) == 0
    assert main(["evaluate", str(run / "run"), str(run / "train.xyz"), "--json", str(run / "b.json")]) == 0
    by_archive, by_run = (json.loads((run / f).read_text()) for f in ("a.json", "b.json"))
    for name in ("energy", "energy_per_atom", "forces", "stress"):
        for kind in ("mae", "rmse"):
            assert by_archive[name][kind] == pytest.approx(by_run[name][kind], rel=1e-4)
    capsys.readouterr()
    assert main(["inspect", archive]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["type_names"] == ["Cu"] and card["training"]["epochs"] == 3


def test_deploy_in_float64_gives_the_same_model_more_precisely(run):
    # the command checks the archive in the engine, whose constants are float64's own, to 1e-11
    assert main(["deploy", str(run / "run"), "-o", str(run / "m64.pth"), "--dtype", "float64"]) == 0
    assert main(["evaluate", str(run / "m64.pth"), str(run / "train.xyz"), "--json", str(run / "c.json")]) == 0
    errors = json.loads((run / "c.json").read_text())
    assert main(["evaluate", str(run / "run"), str(run / "train.xyz"), "--json", str(run / "b.json")]) == 0
    assert errors["forces"]["mae"] == pytest.approx(json.loads((run / "b.json").read_text())["forces"]["mae"], rel=1e-4)


def test_deploy_takes_the_last_weights_when_asked(run):
    assert main(["deploy", str(run / "run"), "-o", str(run / "last.pth"), "--weights", "last"]) == 0
    assert main(["evaluate", str(run / "last.pth"), str(run / "train.xyz")]) == 0


def test_dataset_build_makes_parts_that_evaluate_reads(run, capsys):
    output = str(run / "set.h5")
    assert main(["dataset", "build", output, str(run / "train.xyz"), "--r-max", "4", "--val", "0.25"]) == 0
    assert "12 frames (9 train, 3 val)" in capsys.readouterr().out
    assert main(["evaluate", str(run / "run"), f"{output}@val"]) == 0
    assert capsys.readouterr().out.startswith("3 frames, 12 atoms")


def test_dataset_info_tells_of_a_set_and_of_what_is_wrong(run, capsys):
    assert main(["dataset", "info", str(run / "train.xyz"), "--cutoffs", "3", "--plots", str(run / "set.png")]) == 0
    clean = capsys.readouterr().out
    assert "12 frames, 48 atoms" in clean and "neighbors within 3 A: 11.9" in clean and "WARNING" not in clean
    assert (run / "set.png").read_bytes().startswith(b"\x89PNG")
    assert main(["dataset", "info", str(run / "train.xyz"), str(run / "train.xyz")]) == 0
    assert "WARNING, duplicates: 12 of 24 frames repeat another one" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (["evaluate", "nowhere.pth", "nowhere.xyz"], "nowhere"),
        (["deploy", "nowhere"], "nowhere: not the folder of a training run"),
        (["dataset", "build", "a.xyz", "b.xyz", "--r-max", "4"], "a.xyz: a set's name ends in .h5"),
        (["dataset", "build", "a.h5", "b.xyz", "--r-max", "4", "--val", "2"], "expected a fraction between 0 and 1"),
        (["inspect", "nowhere.pth"], "nowhere.pth: no such file"),
        (["inspect", "."], ".: a folder; expected an archive"),
        (
            ["train", "data.train=FRAMES", "model.r_max=0.5"],
            "no two atoms of the training frames are within",
        ),
        *(
            (["train", "data.train=SET", f"model.r_max={r_max}", "model.avg_num_neighbors=9", "data.val=0.2"], "no two")
            for r_max in ("0.5", "2.0")
        ),
        (["report", "RUN", "--data", "FOREIGN", "-o", "RUN.html"], "foreign.xyz, frame 1: atom of type 'Au', but the"),
        (["report", "nowhere", "--data", "FRAMES", "-o", "no/r.html"], "no/r.html: can't be written: No such file"),
        (["deploy", "nowhere", "-o", "FRAMES/model.pth"], "train.xyz/model.pth: can't be written: Not a directory"),
        (["train", "data.train=FRAMES", "run.dir=FRAMES"], "train.xyz: File exists"),
        (["evaluate", "RUN", "FRAMES", "--json", "."], ".: can't be written: it is a folder"),
    ],
)
def test_error_is_one_line_that_names_the_thing(run, arguments, message, capsys):
    names = {"FRAMES": run / "train.xyz", "RUN": run / "run", "SET": run / "near.h5", "FOREIGN": run / "foreign.xyz"}
    for word, path in names.items():
        arguments = [argument.replace(word, str(path)) for argument in arguments]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["evaluate", "run", "frames.xyz", "--device", "abacus"], "--device: expected cpu, or cuda where torch finds"),
        (["deploy", "run", "--tolerance", "-1"], "--tolerance: expected a number from 0, got -1"),
        (["dataset", "build", "a.h5", "b.xyz", "--r-max", "nan"], "--r-max: expected a positive number, got nan"),
    ],
)
def test_argument_that_makes_no_sense_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err
