#!/bin/sh
# Installs the version of torch that the requirements pin, in the requested build.
#   torch.sh REQUIREMENTS CONSTRAINTS cpu|cuda [INDEX]
# INDEX is the URL of an index with CPU builds. Only torch is installed from it.
set -eu
requirements=$1
constraints=$2
variant=$3
index=${4:-}
version=$(sed -n 's/^torch==\([0-9.]*\).*$/\1/p' "$requirements")
[ -n "$version" ] || { echo "$requirements pins no version of torch" >&2; exit 1; }

install() {
    /opt/build/bin/pip --python /opt/preceptor/bin/python install -c "$constraints" "$@"
}

case "$variant" in
cpu)
    if [ -n "$index" ]; then
        install --no-deps --index-url "$index" "torch==$version+cpu"
    elif ! install --no-deps "torch==$version+cpu"; then
        echo "No CPU build of torch $version is available, and TORCH_INDEX is not set: installing the build for all devices." >&2
        echo "It also runs on a CPU, but the image is several gigabytes larger." >&2
        install "torch===$version"
    fi
    ;;
cuda)
    # `===` rejects builds with a local label such as +cpu.
    install "torch===$version"
    /opt/preceptor/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is None and "this torch has no CUDA")'
    ;;
*)
    echo "TORCH_VARIANT is '$variant'; it must be cpu or cuda" >&2
    exit 1
    ;;
esac
