#!/usr/bin/env bash
# Everything that takes a CUDA device: build for it, run the whole suite there, compute-sanitizer over the kernels, a run
# for leaks, the benchmarks. Figures go to benchmarks/results/gpu.json, the verdict to benchmarks/results/gpu_check.json.
# Without a device it builds and stops there, with status 3.
#
#   benchmarks/gpu_check.sh [--quick]        --quick: no sanitizers, tiny benchmarks
#   PYTHON   the interpreter to use; it needs what the extra "test" names, and CuPy for the benchmarks
#   TESTS    what pytest runs, default: tests
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
TESTS=${TESTS:-tests}
QUICK=${1:-}
RESULTS=benchmarks/results
BUILD=build/gpu
mkdir -p "$BUILD/logs"
declare -A verdict took

step() { # name, command...
  local name=$1 begin=$SECONDS
  shift
  echo "== $name"
  "$@" >"$BUILD/logs/$name.log" 2>&1
  verdict[$name]=$?
  took[$name]=$((SECONDS - begin))
  tail -n 15 "$BUILD/logs/$name.log"
  echo "-- $name: status ${verdict[$name]}, ${took[$name]} s"
}

write_verdict() {
  {
    echo "{"
    echo " \"device\": \"$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)\","
    echo " \"revision\": \"$(git rev-parse --short HEAD 2>/dev/null)\","
    echo " \"steps\": {"
    local comma=""
    for name in "${order[@]}"; do
      [[ -n ${verdict[$name]:-} ]] || continue
      printf '%s  "%s": {"status": %s, "seconds": %s}' "$comma" "$name" "${verdict[$name]}" "${took[$name]}"
      comma=$',\n'
    done
    printf '\n }\n}\n'
  } >"$RESULTS/gpu_check.json"
  echo "written to $RESULTS/gpu_check.json"
}

order=(build suite memcheck racecheck initcheck synccheck leaks bench)
site="$PWD/$BUILD/site"
step build "$PYTHON" -m pip install --quiet --no-build-isolation --no-deps --upgrade --target "$site" \
  -C build-dir="$BUILD/cmake" -C cmake.define.WQ_CUDA=ON -C cmake.define.WQ_EMULATOR=ON \
  -C cmake.define.CMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" .
if [[ ${verdict[build]} != 0 ]]; then
  write_verdict
  exit 1
fi
export PYTHONPATH=$site
if ! "$PYTHON" -c "import sys, warpquant; sys.exit(bool(warpquant.doctor()['cuda']['reason']))"; then
  "$PYTHON" -c "import warpquant; print('no CUDA device:', warpquant.doctor()['cuda']['message'])"
  exit 3
fi

step suite "$PYTHON" -m pytest $TESTS -q -p no:cacheprovider
if [[ $QUICK != --quick ]]; then
  # Each tool slows kernels down a hundred times, so only some tests run under it, which together launch every kernel.
  some="cuda and (of_device_arrays or panel_is_a_loop or several_lengths or missing_values_on_a_device or test_crosses or in_pieces"
  some+=" or test_devices or table_of_30_digits or arrays_on_a_device or any_number_of_rows or bits_of_the_cpu"
  some+=" or scenarios_on_devices or prices_are_those_of_the_cpu or jets_are_those_of_the_cpu or gradient_are_those_of_the_cpu"
  some+=" or test_precisions or device_have_the_bits or points_on_devices)"
  for tool in memcheck racecheck initcheck synccheck; do
    step $tool compute-sanitizer --tool $tool --error-exitcode 9 --target-processes all \
      "$PYTHON" -m pytest tests/test_devices.py tests/test_ma.py tests/test_signals.py tests/test_options_*.py tests/test_pinn_devices.py tests/test_surface_devices.py -k "$some" -q -p no:cacheprovider
  done
fi
step leaks "$PYTHON" benchmarks/gpu_leaks.py
step bench "$PYTHON" benchmarks/bench_gpu.py ${QUICK:+--smoke}
write_verdict
for name in "${!verdict[@]}"; do [[ ${verdict[$name]} == 0 ]] || exit 1; done
