from setuptools import find_packages, setup

package_name = "fosp_perception"

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
    description="Camera and encoder nodes of fosp.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera_node = fosp_perception.camera_node:main",
            "encoder_node = fosp_perception.encoder_node:main",
            "robot_description_node = fosp_perception.robot_description_node:main",
        ]
    },
)
