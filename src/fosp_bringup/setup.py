from pathlib import Path

from setuptools import find_packages, setup

package_name = "fosp_bringup"


def share(folder):
    """data_files of a folder of the repository that is linked here, with its tree."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [(f"share/{package_name}/{path.parent}", [str(path)]) for path in paths]


setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
        *share("launch"),
        *share("config"),
        *share("models"),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="fosp maintainers",
    maintainer_email="fosp@example.org",
    description="The fosp stack as data, its lifecycle manager and launch files.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["lifecycle_manager = fosp_bringup.lifecycle_manager:main"]},
)
