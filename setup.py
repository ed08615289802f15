"""Map the repository's rooms onto one package: folder ``hw`` is ``edgeflow.hw``, and so on."""

from setuptools import find_packages, setup

ROOMS = ("hw", "sw", "quant", "sim", "models")

setup(
    packages=["edgeflow", *(f"edgeflow.{name}" for room in ROOMS for name in [room, *(f"{room}.{sub}" for sub in find_packages(room))])],
    package_dir={"edgeflow": "edgeflow", **{f"edgeflow.{room}": room for room in ROOMS}},
)
