"""ott-jax and geomloss, in a separate environment: reads jobs as JSON lines, answers with processor seconds.

Run by the benchmark as ``$PEERS_PYTHON peer_server.py``; imports no module of the project.
"""

import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np


def ott_runner(job, p, q, cost):
    import jax
    import jax.numpy as jnp
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    count = job["iterations"]
    solver = sinkhorn.Sinkhorn(
        lse_mode=job["lse"], threshold=0.0, min_iterations=count, max_iterations=count, inner_iterations=count
    )

    @jax.jit
    def solve(p, q, cost):
        def one(a, b):
            geom = geometry.Geometry(cost_matrix=cost, epsilon=job["eps"])
            out = solver(linear_problem.LinearProblem(geom, a, b))
            return out.matrix.sum(0), out.matrix.sum(1)

        return jax.vmap(one)(p, q)

    # The plans of a whole batch need not be stored: only their marginals are returned by the compiled function.
    arrays = [jnp.asarray(x) for x in (p, q, cost)]
    columns, rows = jax.block_until_ready(solve(*arrays))
    error = float((np.abs(np.asarray(columns) - q).sum(1) + np.abs(np.asarray(rows) - p).sum(1)).max())
    return (lambda: jax.block_until_ready(solve(*arrays))), error


def geomloss_runner(job, p, q, cost):
    import torch
    from geomloss import SamplesLoss

    torch.set_num_threads(1)
    x, y = (torch.from_numpy(np.load(job["points"])[side]) for side in ("teacher", "student"))
    a, b = torch.from_numpy(p), torch.from_numpy(q)
    loss = SamplesLoss(
        "sinkhorn", p=1, blur=job["eps"], scaling=0.5, debias=False, backend="tensorized", potentials=True
    )
    xs, ys = x.expand(len(a), -1, -1).contiguous(), y.expand(len(b), -1, -1).contiguous()

    def run():
        with torch.no_grad():
            return loss(a, xs, b, ys)

    f, g = run()
    plan = a[:, :, None] * b[:, None] * torch.exp((f[:, :, None] + g[:, None] - torch.from_numpy(cost)) / job["eps"])
    error = float(((plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1)).max())
    return run, error


def main():
    runners = {}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["do"] == "prepare":
                data = np.load(job["arrays"])
                make = {"ott": ott_runner, "geomloss": geomloss_runner}[job["peer"]]
                run, error = make(job, data["p"], data["q"], data["cost"])
                runners[job["name"]] = run
                answer = {"error": error}
            else:
                began = time.process_time()
                runners[job["name"]]()
                answer = {"seconds": time.process_time() - began}
        except Exception as problem:
            answer = {"failed": f"{type(problem).__name__}: {problem}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
