"""Two processes with half of the inputs each find what one finds with all."""

import subprocess
import sys

import pytest
import torch

from conftest import ROOT
from interaction.nets import close, draw, transformer
from unweave.interaction.fit import fit

SCRIPT = """
import sys
import torch
from interaction.nets import draw, transformer
from unweave.interaction.fit import fit

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
inputs = draw(60, 3, 6)
found = fit(transformer(), inputs[:25] if rank == 0 else inputs[25:], matmul="float64", batch=10)
torch.save(
    {"metrics": dict(found.metrics), "lambdas": dict(found.lambdas), "edges": dict(found.edges),
     "errors": dict(found.edge_se), "constant": dict(found.constant_edges), "inputs": found.inputs},
    f"{folder}/found{rank}.pt",
)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "PATH": ""}
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for one in running:
        _, told = one.communicate(timeout=300)
        assert one.returncode == 0, told.decode()
    first, second = (torch.load(tmp_path / f"found{rank}.pt", weights_only=True) for rank in (0, 1))
    whole = fit(transformer(), draw(60, 3, 6), matmul="float64", batch=10)
    assert first["inputs"] == second["inputs"] == whole.inputs == 60
    for layer in whole.layers:
        close(first["metrics"][layer], whole.metrics[layer], 1e-12)
        close(first["lambdas"][layer], whole.lambdas[layer], 1e-10)
    for pair, edges in whole.edges.items():
        close(first["edges"][pair], edges, 1e-10)
        close(first["constant"][pair], whole.constant_edges[pair], 1e-10)
        assert torch.equal(first["edges"][pair], second["edges"][pair])
        assert bool((first["errors"][pair] > 0).any())
