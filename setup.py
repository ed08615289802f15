"""Map the repository's rooms onto one package: folder ``hw`` is ``edgeflow.hw``, and so on."""

from setuptools import find_packages, setup

ROOMS = ("hw", "sw", "quant", "sim", "models")


def packages() -> dict[str, str]:
    """Package name to folder, for every room and the packages inside it."""
    found = {"edgeflow": "edgeflow"}
    for room in ROOMS:
        found[f"edgeflow.{room}"] = room
        found |= {f"edgeflow.{room}.{sub}": f"{room}/{sub.replace('.', '/')}" for sub in find_packages(room)}
    return found


setup(packages=list(packages()), package_dir=packages())
