"""The compiled loops of the transport engine: optional, needs a C compiler and nothing else."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "worker.transport._fused.loops",
            sources=["worker/transport/_fused/fused.c"],
            depends=["worker/transport/_fused/lanes.h", "worker/transport/_fused/zoo.h"],
            extra_compile_args=["-O3", "-fno-math-errno", "-ffp-contract=fast"],
            libraries=["m"],
            optional=True,
        )
    ]
)
