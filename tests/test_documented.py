"""--print-config: everything is documented, and what is printed is the configuration."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from allegro_dist.cli import main
from allegro_dist.commands.simulate import EXAMPLE
from allegro_dist.config import RunConfig, from_dict
from allegro_dist.documented import documented, fields_of, is_kind
from allegro_dist.simulate.settings import STAGES, read_simulation

CHANGED = {
    "data": {"train": ["a b.xyz", "c#d.xyz"], "val": "no", "max_frames": 7},
    "model": {
        "type_names": ["H", "N"], "pair_cutoffs": {"H-H": 3.0}, "avg_num_neighbors": {"H": 1e-3, "N": 1e20},
        "per_type_shift": {"H": -13.6, "N": -1483.0}, "zbl": True,
    },
    "training": {"clip_gradient": None, "learning_rate": 1e-5, "schedule": {"name": "plateau"}},
    "run": {"dir": "run/a: b"},
    "seed": 5,
}  # fmt: skip


def sections(config):
    yield type(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for part in value if isinstance(value, tuple) else [value]:
            if dataclasses.is_dataclass(part):
                yield from sections(part)


@pytest.mark.parametrize("values", [{"data": {"train": "a.xyz"}}, CHANGED], ids=["defaults", "changed"])
def test_documented_configuration_reads_back_as_the_same(values):
    config = from_dict(RunConfig, values)
    assert from_dict(RunConfig, yaml.safe_load(documented(config))) == config


@pytest.mark.parametrize(
    "config", [from_dict(RunConfig, CHANGED), read_simulation(EXAMPLE, "example")], ids=["train", "simulate"]
)
def test_every_key_and_section_is_documented(config):
    for section in sections(config):
        assert not section.__doc__.startswith(f"{section.__name__}("), section
        for name, field in fields_of(section).items():
            known = field.description or dataclasses.is_dataclass(field.annotation) or is_kind(field)
            assert known, f"{section.__name__}.{name}"


def test_value_that_is_not_the_default_is_shown_beside_it():
    lines = documented(from_dict(RunConfig, CHANGED)).splitlines()
    assert lines[lines.index("seed: 5") - 1].endswith("[default 0]")
    assert lines[lines.index("    name: plateau") - 1].endswith("plateau | constant; default cosine]")


def test_printed_configuration_can_be_fed_back(tmp_path, capsys):
    assert main(["train", "--print-config", "model.r_max=6.5", "data.val=0.2"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "c.yaml").write_text(first)
    assert main(["train", str(tmp_path / "c.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == first
    assert yaml.safe_load(first)["model"]["r_max"] == 6.5


def test_printed_simulation_shows_every_stage_and_can_be_fed_back(tmp_path, capsys):
    assert main(["simulate", "--print-config", "timestep=0.5", "trajectory.every=7"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "c.yaml").write_text(first)
    assert main(["simulate", str(tmp_path / "c.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == first
    config = read_simulation(yaml.safe_load(first), "c.yaml")
    assert config == read_simulation(EXAMPLE | {"timestep": 0.5, "trajectory": {"every": 7}}, "example")
    assert {type(stage) for stage in config.stages} == set(STAGES.values())


def test_inherited_keys_have_the_documentation_of_where_they_are_from(capsys):
    assert main(["simulate", "--print-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("  - stage: nve") + 1] == "    # Number of steps."


def test_options_may_stand_anywhere_among_the_keys(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("data: {train: a.xyz}\n")
    assert main(["train", str(tmp_path / "c.yaml"), "--print-config", "seed=3", "model.r_max=4"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["seed"], printed["model"]["r_max"]) == (3, 4.0)


def test_unknown_key_is_refused_before_printing(capsys):
    assert main(["train", "--print-config", "training.max_epoch=3"]) == 2
    assert "did you mean 'max_epochs'" in capsys.readouterr().err


def test_command_without_configuration_says_what_is_missing(capsys):
    assert main(["train"]) == 2
    assert "missing key 'data'" in capsys.readouterr().err
