"""Faults that data sets are known to have: each is looked for, and told with what to do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ase.units import GPa

from allegro_dist.data.structure import Array
from allegro_dist.data.survey import Survey
from allegro_dist.data.work import Comparison, compare_forces, compare_stresses

UNIT_RATIOS = {
    "eV and kcal/mol": 23.0605,
    "eV and kJ/mol": 96.4853,
    "Hartree and eV": 27.2114,
    "Rydberg and eV": 13.6057,
    "kcal/mol and kJ/mol": 4.184,
    "Hartree and kcal/mol": 627.509,
    "Hartree and kJ/mol": 2625.50,
}
"""How many of the second make one of the first, or the other way round."""
STRESS_RATIOS = {"GPa instead of eV/A^3": 1 / GPa, "kbar instead of eV/A^3": 10 / GPa}
LEAST_NET_FORCE = 5e-3
"""eV/Angstrom, per atom: what the grids of plane-wave codes leave."""
LEAST_EXCESS_STRESS = 2e-3
"""eV/Angstrom^3, 0.3 GPa: what converged plane waves leave."""
FEWEST_PAIRS = 3


class Fault(NamedTuple):
    """Something that is probably wrong with a data set."""

    name: str
    finding: str
    advice: str


def find_faults(survey: Survey) -> list[Fault]:
    """All that are found; none in a clean set."""
    found = (mixed_energy_units, force_units, duplicates, net_forces, stress_labels, dominating_isolated_atoms)
    return [fault for look in found for fault in look(survey)]


def mixed_energy_units(survey: Survey) -> Iterator[Fault]:
    """Frames of the same composition whose energies per atom fall into two groups, a ratio of units apart."""
    per_atom = survey.energies / survey.num_atoms
    alike = defaultdict(list)
    shares = np.round(survey.compositions / survey.num_atoms[:, None], 6)
    for index, share in enumerate(shares):
        if np.isfinite(per_atom[index]) and abs(per_atom[index]) > 1e-6 and not survey.isolated[index]:
            alike[share.tobytes()].append(index)
    for indices in alike.values():
        units = _unit_ratio(np.abs(per_atom[indices]))
        if units:
            least, most = (indices[int(f(np.abs(per_atom[indices])))] for f in (np.argmin, np.argmax))
            yield Fault(
                "mixed units",
                f"energies of {survey.formulas[least]} are as far apart as {units}: {per_atom[least]:.6g} per atom in "
                f"{survey.sources[least]}, {per_atom[most]:.6g} in {survey.sources[most]}",
                "convert the files one by one (`dataset build --energy-unit`), then join the sets",
            )


def force_units(survey: Survey) -> Iterator[Fault]:
    """Energies that do not change as the forces say."""
    by_file = defaultdict(list)
    for s in survey.sample:
        by_file[s.file].append(s)
    for file, frames in by_file.items():
        comparison = compare_forces(frames)
        if _disagrees(comparison):
            slope = comparison.slope
            sign = "the forces' sign is wrong" if slope < 0 else f"units: {_nearest_units(slope)}"
            yield Fault(
                "mixed units" if slope > 0 else "force sign",
                f"{file}: between {len(comparison.work)} pairs of similar frames, energies change {slope:.3g} times "
                f"as much as the forces say; probably {sign}",
                "forces are minus the energy's gradient, in eV/Angstrom, energies in eV",
            )


def duplicates(survey: Survey) -> Iterator[Fault]:
    """Frames with the same atoms in the same places."""
    first: dict[bytes, int] = {}
    copies = []
    for index, key in enumerate(survey.keys):
        if key in first:
            copies.append((first[key], index))
        else:
            first[key] = index
    if copies:
        original, copy = copies[0]
        apart = np.array([survey.energies[i] - survey.energies[j] for i, j in copies])
        conflict = np.nanmax(np.abs(apart)) if np.isfinite(apart).any() else 0.0
        differ = f"; their energies differ by up to {conflict:.3g} eV" if conflict > 1e-4 else ""
        yield Fault(
            "duplicates",
            f"{len(copies)} of {len(survey.keys)} frames repeat another one, {survey.sources[copy]} repeats "
            f"{survey.sources[original]}{differ}",
            "`dataset build` leaves them out; where they stay, a draw puts copies into training and validation alike",
        )


def net_forces(survey: Survey) -> Iterator[Fault]:
    """Forces of a frame that do not add up to zero."""
    net = survey.net_force / np.sqrt(survey.num_atoms)  # of independent errors, the error of one atom
    several = survey.num_atoms > 1
    limit = np.maximum(LEAST_NET_FORCE, 0.05 * survey.force_rms)
    with np.errstate(invalid="ignore"):
        off = several & (net > limit)
    if off.sum() > 0.01 * max(1, int((several & np.isfinite(net)).sum())):
        worst = int(np.nanargmax(np.where(off, net, np.nan)))
        yield Fault(
            "net forces",
            f"the forces of {int(off.sum())} frames do not add up to zero: {survey.net_force[worst]:.3g} eV/A in all "
            f"in {survey.sources[worst]}, {survey.force_rms[worst]:.3g} eV/A a component",
            "no potential of positions alone gives such forces: look for external fields, fixed atoms whose forces "
            "were left out or zeroed, labels of fewer atoms, coarse grids; subtract the mean where it is noise",
        )


def stress_labels(survey: Survey) -> Iterator[Fault]:
    """Energies of strained frames that do not change as the stress says."""
    comparison = compare_stresses(survey.sample)
    if len(comparison.work) < FEWEST_PAIRS:
        return
    slope, excess = comparison.slope, comparison.excess_stress
    if not _disagrees(comparison):
        if abs(excess) > LEAST_EXCESS_STRESS and comparison.excess_share > 0.8:
            yield Fault(
                "stress offset",
                f"between {len(comparison.work)} pairs of strained frames, energies change as if the stress were "
                f"{abs(excess):.3g} eV/A^3 ({abs(excess) / GPa:.2g} GPa) {'lower' if excess > 0 else 'higher'} along "
                "each axis",
                "plane waves of too low a cutoff give such a stress (Pulay), or other settings than the energies'; a "
                "model cannot follow both: train without stress (training.loss.stress: 0), or correct the labels",
            )
    elif slope < 0:
        yield Fault(
            "stress sign",
            f"between {len(comparison.work)} pairs of strained frames, energies fall where the stress says that they "
            f"rise ({slope:.3g} times the work)",
            "stress is positive under tension here, as in ASE; VASP and others print the opposite: turn the sign, or "
            "give the virial (positive under compression, eV) by the name of virial",
        )
    else:
        units = min(STRESS_RATIOS, key=lambda name: abs(np.log(slope * STRESS_RATIOS[name])))
        yield Fault(
            "stress units",
            f"between {len(comparison.work)} pairs of strained frames, energies change {slope:.3g} times as much as "
            f"the stress says; probably {units}",
            "stress is in eV/Angstrom^3, as in ASE",
        )


def dominating_isolated_atoms(survey: Survey) -> Iterator[Fault]:
    """Frames of an isolated atom that outweigh all other energies in the loss."""
    labelled = np.isfinite(survey.energies)
    single = survey.isolated[labelled]
    if not single.any() or single.all():
        return
    squares = survey.beyond_composition()[labelled] ** 2
    share = squares[single].sum() / squares.sum() if squares.sum() > 0 else 0.0
    if share > max(0.5, 2 * single.mean()):
        yield Fault(
            "isolated atoms dominate",
            f"{int(single.sum())} frames of isolated atoms make {100 * share:.0f} % of what composition leaves of the "
            f"energies per atom, squared (up to {np.sqrt(squares[single].max()):.3g} eV)",
            "an atom without neighbors has the energy of its shift, whatever is trained: give these frames as "
            "data.isolated_atoms with model.per_type_shift: isolated_atoms, or leave them out",
        )


def _disagrees(comparison: Comparison) -> bool:
    """Whether energy changes follow the work clearly, and differ from it clearly."""
    if len(comparison.work) < FEWEST_PAIRS:
        return False
    return abs(comparison.correlation) > 0.8 and not 0.5 < comparison.slope < 2


def _unit_ratio(values: Array) -> str:
    """The units between two groups of positive values; nothing if they are not two, each narrow, so far apart."""
    logs = np.sort(np.log(values))
    cut = int(np.diff(logs, prepend=logs[:1]).argmax())
    low, high = logs[:cut], logs[cut:]
    if min(len(low), len(high)) < 2:  # one frame that is off is an outlier
        return ""
    gap = np.median(high) - np.median(low)
    if max(np.ptp(low), np.ptp(high)) > gap / 4:
        return ""
    near = [name for name, ratio in UNIT_RATIOS.items() if abs(gap - np.log(ratio)) < 0.05]
    return near[0] if near else ""


def _nearest_units(slope: float) -> str:
    """The units whose ratio is nearest to a slope or its inverse, with Bohr among the lengths."""
    bohr = 0.529177
    ratios = UNIT_RATIOS | {"energies in eV, forces in Hartree/Bohr": 27.2114 / bohr}
    name = min(ratios, key=lambda n: abs(abs(np.log(slope)) - np.log(ratios[n])))
    return name if abs(abs(np.log(slope)) - np.log(ratios[name])) < 0.25 else "none that is known"
