#!/bin/bash
# A simulation on nodes of four GPUs, one MPI rank per GPU:  sbatch examples/slurm/gpu.sh
# Nobody in this project has run the CUDA evaluator on a GPU yet (docs/performance.md): first compare a short run
# with `device cpu`. It needs an engine that was built where nvcc is found.
#SBATCH --job-name=silicon-gpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120

set -eu
source .venv/bin/activate # from the repository's root, where the job was submitted
export OMP_NUM_THREADS=1

# pmi2 as in cpu.sh. `device cuda` of the pair style (docs/lammps.md) takes the GPU of the rank's number on its node, so
# every rank must see all of them: no --gpus-per-task and no --gpu-bind.
cd examples/silicon
srun --mpi=pmi2 --cpu-bind=cores --kill-on-bad-exit allegro-dist lmp -in quick.in
