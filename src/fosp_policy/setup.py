from setuptools import find_packages, setup

package_name = "fosp_policy"

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
    description="The policy of fosp: safe policy expansion, and teleoperation by a person.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "policy_node = fosp_policy.policy_node:main",
            "teleop_node = fosp_policy.teleop_node:main",
        ]
    },
)
