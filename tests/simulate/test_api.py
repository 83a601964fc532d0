"""The names that allegro_dist.simulate offers: there, and loaded only when used."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

import allegro_dist.simulate as api
from allegro_dist.simulate import settings


def test_all_settings_are_exported():
    classes = {name for name, part in vars(settings).items() if dataclasses.is_dataclass(part)}
    assert classes - {"AtConstantVolume", "AtPressure", "Dynamics", "Thermostatted"} <= set(api.__all__)


@pytest.mark.parametrize("name", api.__all__)
def test_exported_name_is_what_it_says(name):
    assert getattr(api, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Npv'"):
        _ = api.Npv


def test_import_alone_loads_neither_torch_nor_pydantic():
    heavy = "import sys, allegro_dist.simulate; print({'torch', 'pydantic', 'ase'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout == "set()\n"
