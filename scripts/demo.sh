#!/usr/bin/env bash
# The whole chain: sets up, trains on the embedded silicon set, evaluates, deploys, runs LAMMPS on two MPI ranks, and
# writes demo-run/report.html. Interrupted, it goes on where it stopped when it is started again.
#   scripts/demo.sh          three to five minutes on two cores, after set-up
#   scripts/demo.sh --full   trains a committee of four, simulates longer, in both precisions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;; esac
scripts/setup.sh
exec .venv/bin/python scripts/demo.py "$@"
