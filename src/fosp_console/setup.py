from setuptools import find_packages, setup

package_name = "fosp_console"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed", "page/*", "page/history/*", "page/vendor/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="Seed 546365df maintainers",
    maintainer_email="maintainers@users.noreply.b-seed-546365df.example",
    description="Operator's console of fosp in the browser.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["console_node = fosp_console.console_node:main"]},
)
