#!/bin/bash
# A learning loop whose labels are job arrays of their own:  sbatch examples/slurm/learn.sh [key=value ...]
# The job is large enough for training and simulation; it is queued again until the loop ends, like that of cpu.sh.
#SBATCH --job-name=learn
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=3
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
# To what srun has started, which writes a checkpoint and stops; the loop sees that and ends with exit code 143, too.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -eu
source .venv/bin/activate # from the repository's root, where the job was submitted
export OMP_NUM_THREADS=1

code=0
allegro-dist learn examples/learning/learn.yaml dir=run/learning \
    "launch={train: srun, simulate: srun --mpi=pmi2}" label.mode=array \
    "label.submit=sbatch --wait --array={indices} examples/slurm/label.sh run/learning/config.yaml" "$@" || code=$?
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
