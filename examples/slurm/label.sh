#!/bin/bash
# A task of a job array that labels a frame of a learning loop; examples/slurm/learn.sh submits it:
#   sbatch --wait --array=0-19 examples/slurm/label.sh run/learning/config.yaml
#SBATCH --job-name=label
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=64
#SBATCH --time=4:00:00

set -eu
source .venv/bin/activate # from the repository's root, where the job was submitted
export OMP_NUM_THREADS=1

# The calculator starts what it needs, as its settings say (command: srun pw.x).
allegro-dist learn label "$@" --index "$SLURM_ARRAY_TASK_ID"
