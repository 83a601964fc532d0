"""What a step of a simulation on many ranks takes: work per atom and edge, ghosts by geometry, messages by the network.

LAMMPS cuts the box into one brick per rank. Atoms within the communication cutoff (r_max + skin) of a brick are its
ghosts; positions go out and forces come back in stages, x then y then z, so that corners travel with faces:

      +---+-------+---+     stage x:  c ly lz              each way
      | 2 |   2   | 2 |     stage y:  (lx + 2c) c lz       each way, with what came in x
      +---+-------+---+     stage z:  (lx + 2c)(ly + 2c) c each way, with both
      | 1 | brick | 1 |
      +---+-------+---+
      | 2 |   2   | 2 |
      +---+-------+---+

docs/scaling.md says what is assumed and how it compares with what was measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from allegro_dist.config import STRICT, ConfigError, Count, NonNegative, Positive

Grid = tuple[int, int, int]
Box = tuple[float, float, float]

FORWARD, REVERSE = 24, 24  # bytes per ghost: position, force
BORDER = 48  # bytes per ghost when lists are built: position, tag, type, mask, each as a double


@checked(frozen=True, kw_only=True, config=STRICT)
class Machine:
    """Nodes, and what one rank needs for its work; the defaults are measured (docs/scaling.md) but for the network."""

    name: str = "CPU of docs/performance.md (Xeon); network assumed"
    """What it is, for the heading."""
    ranks_per_node: Count = 64
    """MPI ranks on a node: one per core, or one per GPU."""
    seconds_per_atom: NonNegative = 18e-9
    """Per step: integration and what else LAMMPS does."""
    seconds_per_pair_atom: NonNegative = 1.35e-6
    """Per step: what the pair style does once per atom."""
    seconds_per_edge: Positive = 0.586e-6
    """Per step: what the pair style does for each neighbor within the cutoff."""
    seconds_per_listed: NonNegative = 28e-9
    """Per build of the neighbor list and listed neighbor (within cutoff and skin)."""
    seconds_per_ghost: NonNegative = 20e-9
    """Per step: packing and unpacking of a position and a force."""
    full_node_slowdown: Annotated[float, Field(ge=1)] = 1.02
    """Time of a rank with all ranks of a node at work, over its time alone."""
    latency: NonNegative = 2e-6
    """Of a message between nodes, s."""
    latency_within: NonNegative = 1e-6
    """Of a message within a node, s."""
    bandwidth: Positive = 12.5e9
    """Of a node's link, bytes/s, which its ranks share."""
    bytes_per_atom: NonNegative = 475
    """Memory of a rank per atom."""
    bytes_per_rank: NonNegative = 40e6
    """Memory of a rank without atoms."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A homogeneous system under a model, in a periodic cube."""

    num_atoms: int
    density: float  # atoms/Angstrom^3
    r_max: float  # Angstrom
    num_neighbors: float  # edges per atom
    skin: float  # Angstrom
    rebuild_every: float  # steps from one neighbor list to the next

    @property
    def cutoff(self) -> float:
        """How far ghosts reach, Angstrom."""
        return self.r_max + self.skin

    @property
    def box(self) -> Box:
        """Edges of the cube, Angstrom."""
        edge = (self.num_atoms / self.density) ** (1 / 3)
        return (edge, edge, edge)

    @property
    def num_listed(self) -> float:
        """Neighbors per atom within cutoff and skin."""
        return self.num_neighbors * (self.cutoff / self.r_max) ** 3


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One step on the slowest, which is every, rank; seconds unless said otherwise."""

    num_atoms: int
    nodes: int
    ranks: int
    grid: Grid
    atoms_per_rank: float
    ghosts_per_rank: float
    messages: int  # per step and rank, to other ranks
    bytes_sent: float  # per step and rank, to other ranks
    pair: float
    neighbor: float
    communication: float
    other: float
    efficiency: float  # time of one rank for everything, over ranks x step
    memory_per_rank: float  # bytes

    @property
    def step(self) -> float:
        return self.pair + self.neighbor + self.communication + self.other

    @property
    def atom_steps_per_second(self) -> float:
        return self.num_atoms / self.step

    def ns_per_day(self, timestep: float) -> float:
        """With a timestep in fs."""
        return timestep * 1e-6 * 86400 / self.step


def processor_grid(ranks: int, box: Box = (1.0, 1.0, 1.0)) -> Grid:
    """Ranks along x, y, z as LAMMPS chooses them for an orthogonal box: bricks of the least surface."""

    def surface(grid: Grid) -> float:
        x, y, z = (edge / number for edge, number in zip(box, grid))
        return x * y + y * z + z * x

    best = (1, 1, ranks)
    for grid in _factorizations(ranks):
        if surface(grid) < surface(best) * (1 - 1e-12):  # of equal ones the first
            best = grid
    return best


def ghosts_per_rank(box: Box, grid: Grid, cutoff: float, density: float) -> float:
    """Mean number of ghosts of a rank in a periodic box: what is in its brick widened by `cutoff`, less the brick."""
    brick = [edge / number for edge, number in zip(box, grid)]
    return density * (math.prod(edge + 2 * cutoff for edge in brick) - math.prod(brick))


def staged_exchange(box: Box, grid: Grid, cutoff: float) -> tuple[int, float]:
    """Messages of a rank to other ranks, and the volume (Angstrom^3) whose atoms they carry, in one exchange.

    A stage takes as many hops as bricks lie within the cutoff; along an axis with one rank all is the rank's own.
    """
    brick = [edge / number for edge, number in zip(box, grid)]
    messages, volume = 0, 0.0
    for axis in range(3):
        if grid[axis] == 1:
            continue
        widths = [brick[k] + (2 * cutoff if k < axis else 0) for k in range(3) if k != axis]
        messages += 2 * (int(cutoff / brick[axis]) + 1)
        volume += 2 * cutoff * math.prod(widths)
    return messages, volume


def predicted_gpus() -> Machine:
    """A node of eight H200s: the pair style as docs/performance.md predicts it for s5, the rest on one core per GPU."""
    return Machine(
        name="H200, predicted and never measured", ranks_per_node=8, seconds_per_pair_atom=0.0,
        seconds_per_edge=1 / 6e6 / 28, full_node_slowdown=1.0, bandwidth=50e9,
    )  # fmt: skip


def at_rate(machine: Machine, rate: float, work: Workload) -> Machine:
    """The machine with its costs of the pair style scaled so that one rank does `rate` atom-steps/s.

    Raises: ConfigError if LAMMPS's own work alone takes longer.
    """
    pair = 1 / rate - _neighbor_seconds(work, machine) - machine.seconds_per_atom
    if pair <= 0:
        most = 1 / (1 / rate - pair)
        raise ConfigError(
            f"rate: expected less than LAMMPS does without forces, {most:.3g} atom-steps/s, got {rate:.3g}"
        )
    factor = pair / _pair_seconds(work, machine)
    return dataclasses.replace(
        machine, seconds_per_pair_atom=factor * machine.seconds_per_pair_atom,
        seconds_per_edge=factor * machine.seconds_per_edge,
    )  # fmt: skip


def predict(work: Workload, machine: Machine, nodes: int) -> Prediction:
    """A step on `nodes` full nodes.

    Raises: ConfigError if there are more ranks than atoms.
    """
    ranks = nodes * machine.ranks_per_node
    if ranks > work.num_atoms:
        raise ConfigError(
            f"{work.num_atoms} atoms on {nodes} nodes: expected at most one rank per atom, got {ranks} ranks"
        )
    grid = processor_grid(ranks, work.box)
    atoms = work.num_atoms / ranks
    ghosts = ghosts_per_rank(work.box, grid, work.cutoff, work.density)
    messages, sent = _traffic(work, grid)
    slowdown = machine.full_node_slowdown if machine.ranks_per_node > 1 else 1.0
    result = Prediction(
        num_atoms=work.num_atoms, nodes=nodes, ranks=ranks, grid=grid, atoms_per_rank=atoms, ghosts_per_rank=ghosts,
        messages=messages, bytes_sent=sent, pair=slowdown * atoms * _pair_seconds(work, machine),
        neighbor=slowdown * atoms * _neighbor_seconds(work, machine),
        communication=slowdown * ghosts * machine.seconds_per_ghost + _network(machine, nodes, messages, sent),
        other=slowdown * atoms * machine.seconds_per_atom, efficiency=math.nan,
        memory_per_rank=machine.bytes_per_rank + atoms * machine.bytes_per_atom,
    )  # fmt: skip
    return dataclasses.replace(result, efficiency=_one_rank(work, machine) / (ranks * result.step))


def _factorizations(number: int) -> Iterator[Grid]:
    """All ordered products of three, in LAMMPS's order."""
    divisors = sorted({d for k in range(1, math.isqrt(number) + 1) if number % k == 0 for d in (k, number // k)})
    for x in divisors:
        for y in divisors:
            if number // x % y == 0:
                yield (x, y, number // x // y)


def _pair_seconds(work: Workload, machine: Machine) -> float:
    """Per atom and step."""
    return machine.seconds_per_pair_atom + work.num_neighbors * machine.seconds_per_edge


def _neighbor_seconds(work: Workload, machine: Machine) -> float:
    """Per atom and step."""
    return work.num_listed * machine.seconds_per_listed / work.rebuild_every


def _traffic(work: Workload, grid: Grid) -> tuple[int, float]:
    """Messages and bytes of a rank per step: forward, reverse, and the borders of a new neighbor list."""
    messages, volume = staged_exchange(work.box, grid, work.cutoff)
    borders = 1 / work.rebuild_every
    return 2 * messages, volume * work.density * (FORWARD * (1 - borders) + REVERSE + BORDER * borders)


def _network(machine: Machine, nodes: int, messages: int, sent: float) -> float:
    """Messages one after the other, all of a node's bytes over its link, and the reduction that asks for new lists."""
    ranks = nodes * machine.ranks_per_node
    latency = machine.latency if nodes > 1 else machine.latency_within
    link = sent * machine.ranks_per_node / machine.bandwidth if nodes > 1 else 0.0
    return (messages + math.ceil(math.log2(ranks))) * latency + link


def _one_rank(work: Workload, machine: Machine) -> float:
    """A step of everything on one rank alone."""
    ghosts = ghosts_per_rank(work.box, (1, 1, 1), work.cutoff, work.density)
    per_atom = _pair_seconds(work, machine) + _neighbor_seconds(work, machine) + machine.seconds_per_atom
    return work.num_atoms * per_atom + ghosts * machine.seconds_per_ghost
