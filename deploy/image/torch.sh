#!/bin/sh
# Installs the one version of torch that the requirements name, in the build that was asked for.
#   torch.sh REQUIREMENTS CONSTRAINTS cpu|cuda [INDEX]
# INDEX is the address of an index that carries CPU builds. Only torch is taken from there, nothing else.
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
        echo "No CPU build of torch $version at hand, and TORCH_INDEX is not set: taking the build for all devices." >&2
        echo "It runs on a CPU too, but the image grows by several gigabytes." >&2
        install "torch===$version"
    fi
    ;;
cuda)
    # `===` refuses builds with a local label such as +cpu.
    install "torch===$version"
    /opt/preceptor/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is None and "this torch has no CUDA")'
    ;;
*)
    echo "TORCH_VARIANT is '$variant'; it must be cpu or cuda" >&2
    exit 1
    ;;
esac
