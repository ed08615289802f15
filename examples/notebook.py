"""A torch module to a verified accelerator program in ten lines, as in a notebook."""

import torch

import edgeflow

torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.LayerNorm(32), torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 10))
samples = torch.randn(256, 32)
loader = torch.utils.data.DataLoader(samples, batch_size=32)
build = edgeflow.compile(module, example_inputs=samples[:2], calibration=loader, board="kv260", output="builds/notebook")
print(edgeflow.verify(build).passed, edgeflow.cycles(build).latency_ms)
print(f"largest error: {abs(edgeflow.simulate(build, samples)['output'] - module(samples).detach().numpy()).max():.4f}")
