#!/usr/bin/env python3
"""Time of a training step beside nequip-allegro's and MACE's, in one run: the same frames, batch and optimizer.

    python scripts/benchmark_training.py --frames FILE [--peers nequip-allegro,mace] [--batch 5] [--json FILE]
    python scripts/benchmark_training.py --frames FILE --shares

Peers are installed into environments of their own on first use (benchmarking/peers.py).  nequip-allegro gets the widths
of ours; its `compile_mode: compile` (torch.compile) takes minutes before its first step and a C++ compiler.  MACE, a
model of another family, has two interactions of 64x0e + 64x1o and its defaults else.  Each contestant is a process that
holds its model and data; the parent asks them in turn for a few steps, so that all see the same machine, and reports
medians.  Every contestant runs with malloc as it is and once more with TUNED_MALLOC, by which temporaries stay in the
process.  A step is: model, forces, energy + force loss, gradient of the loss, Adam.  float32, one thread each.
Collation and neighbor lists are left out on both sides (done once, before).  Memory is the process's at its peak during
steps, and what of it came after the imports: model, data, compiled code, and what a step takes.

--shares times the parts of our trainer's own steps instead, with collation, moving average and metrics.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TUNED_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
WIDTHS = {"l_max": 2, "num_layers": 2, "num_scalar_features": 64, "num_tensor_features": 32}


def our_model(frames: list, r_max: float, family: str = "allegro"):
    """Graphs of the frames, and a potential for them in training mode."""
    import torch

    from allegro_dist.config import AllegroConfig
    from allegro_dist.data.dataset import build_graphs, find_type_names
    from allegro_dist.data.structure import from_atoms
    from allegro_dist.potential import build_potential, pair_cutoffs

    structures = [from_atoms(atoms) for atoms in frames]
    config = AllegroConfig(family=family, r_max=r_max, **WIDTHS)
    names = find_type_names(structures)
    graphs = build_graphs(structures, names, pair_cutoffs(config, names), torch.float32)
    neighbors = sum(g.num_edges for g in graphs) / sum(g.num_atoms for g in graphs)
    potential = build_potential(
        config, type_names=names, avg_num_neighbors=neighbors, per_type_scale=[1.0] * len(names),
        per_type_shift=[0.0] * len(names),
    )  # fmt: skip
    return graphs, potential.train()


def make_step(optimizer, predict, energy, forces, num_atoms):
    """A function that makes one training step of a model; `predict` gives energies and forces of the batch."""

    def step() -> None:
        found_energy, found_forces = predict()
        loss = ((found_energy - energy) / num_atoms).square().mean() + (found_forces - forces).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(frames: list, r_max: float, kind: str):
    """A training step of allegro_dist's model, fused or eager; 2022: of that form, eager."""
    import torch

    from allegro_dist.data.graph import collate
    from allegro_dist.potential import assemble_forces
    from allegro_dist.training.fused_step import make_evaluator

    graphs, potential = our_model(frames, r_max, "allegro-2022" if kind == "2022" else "allegro")
    batch = collate(graphs)
    evaluator = make_evaluator(potential, "auto" if kind == "2022" else kind, torch.device("cpu"), 1)
    optimizer = torch.optim.Adam([p for p in potential.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = evaluator(batch.edge_vectors, batch.edge_index, batch.atom_types)
        total = torch.zeros_like(batch.energy).index_add(0, batch.atom_frame, energy)
        return total, assemble_forces(gradient, batch.edge_index, len(batch.atom_types))

    step = make_step(optimizer, predict, batch.energy, batch.forces, batch.num_atoms)
    return step, sum(p.numel() for p in potential.parameters()), len(batch.edge_vectors)


def nequip_allegro_step(frames: list, r_max: float, mode: str):
    """The same of nequip-allegro, in its eager or compiled training mode."""
    import torch
    from allegro.model import AllegroModel
    from nequip.data import AtomicDataDict
    from nequip.data.ase import from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    names = sorted({s for atoms in frames for s in atoms.get_chemical_symbols()})
    transforms = (ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(r_max=r_max))
    data = []
    for atoms in frames:
        item = from_ase(atoms)
        for transform in transforms:
            item = transform(item)
        data.append(item)
    batch = AtomicDataDict.batched_from_list(data)
    num_edges, num_atoms = batch["edge_index"].shape[1], len(batch["pos"])
    model = AllegroModel(
        seed=0, model_dtype="float32", compile_mode=mode, r_max=r_max, type_names=names, parity=True,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
        scalar_embed_mlp_hidden_layers_depth=1, scalar_embed_mlp_hidden_layers_width=64,
        allegro_mlp_hidden_layers_depth=1, allegro_mlp_hidden_layers_width=64, readout_mlp_hidden_layers_depth=1,
        readout_mlp_hidden_layers_width=32, avg_num_neighbors=num_edges / num_atoms, **WIDTHS,
    )  # fmt: skip
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    energy, forces = batch.pop("total_energy"), batch.pop("forces")
    batch.pop("stress", None)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = model(dict(batch))
        return out["total_energy"], out["forces"]

    step = make_step(optimizer, predict, energy, forces, batch["num_atoms"].view(-1, 1))
    return step, sum(p.numel() for p in model.parameters()), num_edges


def mace_step(frames: list, r_max: float, mode: str):
    """The same of MACE; only its eager mode trains."""
    import numpy as np
    import torch
    from e3nn import o3
    from mace import data
    from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes
    from mace.tools import AtomicNumberTable, torch_geometric

    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
    table = AtomicNumberTable(numbers)
    items = [data.AtomicData.from_config(data.config_from_atoms(a), z_table=table, cutoff=r_max) for a in frames]
    batch = next(iter(torch_geometric.dataloader.DataLoader(items, batch_size=len(items), shuffle=False)))
    energy = torch.tensor([a.get_potential_energy() for a in frames], dtype=torch.float32)
    forces = torch.tensor(np.concatenate([a.get_forces() for a in frames]), dtype=torch.float32)
    num_atoms = torch.tensor([len(a) for a in frames])
    inputs = {
        key: x.float() if torch.is_tensor(x) and x.is_floating_point() else x for key, x in batch.to_dict().items()
    }
    num_edges = inputs["edge_index"].shape[1]
    torch.set_default_dtype(torch.float32)
    model = ScaleShiftMACE(
        r_max=r_max, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, num_interactions=2, num_elements=len(numbers),
        interaction_cls=interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=interaction_classes["RealAgnosticInteractionBlock"],
        hidden_irreps=o3.Irreps("64x0e + 64x1o"), MLP_irreps=o3.Irreps("16x0e"), gate=gate_dict["silu"], correlation=3,
        atomic_energies=np.zeros((1, len(numbers))), atomic_numbers=numbers, radial_type="bessel",
        avg_num_neighbors=num_edges / len(forces), atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = model(dict(inputs), training=True)
        return out["energy"], out["forces"]

    step = make_step(optimizer, predict, energy, forces, num_atoms)
    return step, sum(p.numel() for p in model.parameters()), num_edges


MAKE_STEP = {"allegro_dist": our_step, "nequip-allegro": nequip_allegro_step, "mace": mace_step}
IMPORTS = {  # what counts as importing, not as a step's memory
    "allegro_dist": ("allegro_dist.training.loop",),
    "nequip-allegro": ("allegro.model", "nequip.data.ase"),
    "mace": ("mace.modules", "mace.data"),
}


def memory_mb(name: str) -> float:
    """VmRSS (resident now) or VmHWM (at the peak) of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def work(args: argparse.Namespace) -> None:
    """One contestant: prepares, says so, then for each line read makes steps and prints milliseconds per step."""
    import torch
    from ase.io import read

    torch.set_num_threads(1)
    frames = read(args.frames, f":{args.batch}")
    package, kind = args.worker.split("/")
    for module in IMPORTS[package]:
        importlib.import_module(module)
    start, imported = time.time(), memory_mb("VmRSS")
    step, weights, edges = MAKE_STEP[package](frames, args.r_max, kind)
    for _ in range(5):
        step()
    warm_up = time.time() - start
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    step()
    facts = {"weights": weights, "edges": edges, "warm_up_s": round(warm_up, 1), "peak_MB": round(memory_mb("VmHWM")),
             "beyond_imports_MB": round(memory_mb("VmHWM") - imported)}  # fmt: skip
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(args.steps):
            step()
        print(1e3 * (time.perf_counter() - start) / args.steps, flush=True)


def show_shares(args: argparse.Namespace) -> None:
    """Milliseconds of the parts of a step of the trainer itself; an indented part is within the one above it."""
    import torch
    from ase.io import read

    from allegro_dist.config import TrainingConfig
    from allegro_dist.data.frames import GraphList
    from allegro_dist.training import loop
    from allegro_dist.training.distributed import start_ranks
    from allegro_dist.training.fused_step import FusedStep

    times: dict[str, float] = {}

    def timed(owner: object, name: str, part: str) -> None:
        function, times[part] = getattr(owner, name), 0.0

        def run(*arguments, **named):
            start = time.perf_counter()
            result = function(*arguments, **named)
            times[part] += time.perf_counter() - start
            return result

        setattr(owner, name, run)

    graphs, potential = our_model(read(args.frames, f":{5 * args.batch}"), args.r_max)
    config = TrainingConfig(device="cpu", batch_size=args.batch)
    trainer = loop.Trainer(potential, GraphList(graphs), GraphList(graphs[:1]), config, 0, start_ranks("cpu", 1))
    timed(trainer.train_graphs, "batch", "collation")
    timed(loop, "predict", "energies and forces")
    if isinstance(trainer.evaluator, FusedStep):
        timed(trainer.evaluator, "_merged_weights", "  merging of weights")
        timed(trainer.evaluator.kernel, "forward", "  compiled kernel")
    timed(torch.Tensor, "backward", "derivatives of the loss")
    if isinstance(trainer.evaluator, FusedStep):
        timed(trainer.evaluator.kernel, "backward", "  compiled kernel, backward")
    timed(trainer.flat, "clip", "clipping")
    timed(trainer.optimizer, "step", "optimizer")
    timed(trainer.average, "update", "moving average")
    timed(trainer.train_errors, "add", "metrics")
    batches = [list(range(i, i + args.batch)) for i in range(0, len(graphs) - args.batch + 1, args.batch)]
    for i in range(10 + args.steps):
        if i == 10:
            times, start = dict.fromkeys(times, 0.0), time.perf_counter()
        trainer.step(batches[i % len(batches)])
    total = time.perf_counter() - start
    for part, seconds in [*times.items(), ("step", total)]:
        print(f"{part:32} {1e3 * seconds / args.steps:8.3f} ms {100 * seconds / total:5.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", required=True, help="file that ASE reads; its first frames are the batch")
    parser.add_argument("--peers", default="", help="of nequip-allegro and mace, separated by commas")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--r-max", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="steps per round and contestant")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave nequip-allegro's compiled mode out (it takes minutes)"
    )
    parser.add_argument("--with-2022", action="store_true", help="the 2022 form of Allegro, too")
    parser.add_argument("--shares", action="store_true", help="the parts of our own step instead")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    if args.shares:
        return show_shares(args)

    contestants = {"allegro_dist/fused": sys.executable, "allegro_dist/eager": sys.executable}
    if args.with_2022:
        contestants["allegro_dist/2022"] = sys.executable
    for name in filter(None, args.peers.split(",")):
        from benchmarking.peers import PACKAGES, interpreter

        modes = ["eager"] if name == "mace" or args.no_compile else ["eager", "compile"]
        contestants |= {f"{name}/{mode}": interpreter(name, PACKAGES[name].requirements) for mode in modes}
    processes = {}
    for worker, python in contestants.items():
        for name, malloc in ((worker, {}), (f"{worker}, tuned malloc", TUNED_MALLOC)):
            command = [python, "-W", "ignore", __file__, *sys.argv[1:], "--worker", worker]
            environment = os.environ | {"OMP_NUM_THREADS": "1"} | malloc
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            # Packages may have something to say first.
            line = next((text for text in process.stdout if text.startswith("{")), "")
            print(f"{name}: {line.strip() or 'did not start, left out'}", flush=True)
            if line:
                processes[name] = process
    times: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(args.rounds):
        for name, process in processes.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            times[name].append(float(process.stdout.readline()))
    medians = {name: statistics.median(values) for name, values in times.items()}
    frames = f"{Path(args.frames).parent.name}/{Path(args.frames).name}, batch {args.batch}"
    print(f"\n| {frames} | ms per step (median of {args.rounds}) | ratio |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {value / medians['allegro_dist/fused']:.2f} |")
    if args.json:
        args.json.write_text(
            json.dumps({"medians_ms": medians, "rounds": times, "arguments": vars(args)}, default=str, indent=1)
        )


if __name__ == "__main__":
    main()
