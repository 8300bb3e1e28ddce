from pathlib import Path

from setuptools import Distribution, find_packages, setup

package_name = "fosp_bringup"
# With `colcon build --symlink-install` this file is a link in the build folder: resolve() leads back to the repository.
repository = Path(__file__).resolve().parents[2]


def repository_files(folder):
    """Return the data_files entries of a folder in the repository's root; end the build if the folder is empty."""
    paths = [path for path in (repository / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    if not paths:
        raise SystemExit(
            f"error: {repository / folder} is missing or empty, and {package_name} installs it: "
            f"build {package_name} inside of the whole repository, as src/{package_name}"
        )
    return [(f"share/{package_name}/{path.parent.relative_to(repository).as_posix()}", [str(path)]) for path in paths]


class RepositoryDistribution(Distribution):
    """Install the folders of the repository's root beside the files of the package itself.

    They cannot be in the list of data_files from the start: colcon takes no absolute paths there, and with
    --symlink-install it would link relative ones into the workspace above its build folder.
    """

    def run_command(self, command):
        """Run a command, with the repository's files where it installs data (`symlink_data` is colcon's)."""
        if command in ("install_data", "symlink_data") and command not in self.have_run:
            for folder in ("launch", "config", "models"):
                self.data_files += repository_files(folder)
        super().run_command(command)


setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    distclass=RepositoryDistribution,
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="Seed 546365df maintainers",
    maintainer_email="maintainers@users.noreply.b-seed-546365df.example",
    description="Bring-up of fosp: lifecycle manager, supervisor, launch files and security policies.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["lifecycle_manager = fosp_bringup.lifecycle_manager:main"]},
)
