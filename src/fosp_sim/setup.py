from setuptools import find_packages, setup

package_name = "fosp_sim"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="Seed 546365df maintainers",
    maintainer_email="maintainers@users.noreply.b-seed-546365df.example",
    description="MuJoCo and Gazebo tasks, demonstrators and simulator nodes of fosp.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"{name} = fosp_sim.{name}:main" for name in ("sim_node", "gazebo_server", "gazebo_bridge", "gazebo_node")
        ]
    },
)
