#!/usr/bin/env bash
# Sets everything up and runs all checks: format, lint, types, C++ format, tests. Arguments go to pytest
# (scripts/test.sh -m slow runs the slow tests by name).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
PATH="$PWD/.venv/bin:$PATH"
# Several ranks and processes share few cores: threads that wait by spinning would take them from those that work.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

ruff check .
ruff format --check --quiet . || { echo "test: run 'ruff format .'" >&2; exit 1; }
mypy
find allegro_dist/csrc lammps_plugin tests -name '*.cpp' -o -name '*.hpp' -o -name '*.h' | xargs clang-format --dry-run --Werror
python -m pytest "$@"
