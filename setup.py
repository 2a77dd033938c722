"""Packaging of recsys_po_rl; the gin files of configs/ travel inside the package."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION: dict[str, str] = {}
exec((HERE / "recsys_po_rl" / "version.py").read_text(encoding="utf-8"), VERSION)

CONFIG_FOLDERS = ["network", "scorer", "runtime", "training", "experiments", "experiments/ablations", "overlays"]
CONFIG_PACKAGES = {folder: f"recsys_po_rl.configs.{folder.replace('/', '.')}" for folder in CONFIG_FOLDERS}

INSTALL_REQUIRES = [
    "recsim-ng>=0.1.2",  # the host; earlier releases lack its partially observable application
    "tensorflow>=2.16",  # the first whose Keras 2 is the separate package tf_keras
    "tf_keras>=2.16",  # Keras 2: the model's documented surface, and what TFP builds on
    "tensorflow-probability>=0.24",  # the first for TensorFlow 2.16
    "edward2>=0.0.2",  # the first that reads distributions of current TFP
    "gin-config>=0.5.0",  # the first with `unlock_config` and module-qualified operative configs as used here
    "gym<0.25",  # from 0.25 on, spaces refuse the shapes in RecSim NG's specs (tuples of scalar tensors)
    "numpy>=1.26",  # the oldest that current TensorFlow runs with on Python 3.12
    "cloudpickle>=1.3",  # hands a seed's work to its process; TFP needs it too
    "tqdm>=4.60",  # the progress bar
    "tensorboard>=2.16",  # TensorFlow 2.21 does not bring it, and tf.summary and Keras's callback fail without
    "matplotlib>=3.8",  # figures of reports; the oldest for Python 3.12
]
STATS_REQUIRES = [
    "rliable>=1.2",  # plots across runs; its measures are the ones that evaluation.json has without it
    "pandas<3",  # arch 7.2, which rliable imports, fails with pandas 3
]
GYM_REQUIRES = [
    "gymnasium>=1.1",  # the first with `AutoresetMode`; recsim-ng's gym stays beside it
]
DATA_REQUIRES = [
    "pyarrow>=17",  # tables and interaction logs; the first with ParquetWriter.add_key_value_metadata
    *GYM_REQUIRES,  # environments whose spaces datasets have
    "minari[hdf5]>=0.5.2",  # datasets of logs; the first that stores MultiDiscrete spaces
]
SB3_REQUIRES = [
    *GYM_REQUIRES,
    "stable-baselines3>=2.4",  # the first for gymnasium 1; brings PyTorch
]
CLUSTER_REQUIRES = [
    "ray>=2.9",  # tasks on a cluster
    "optuna>=5.0",  # sweeps; the release that they are tested with
]
TEST_REQUIRES = [
    *STATS_REQUIRES,
    *DATA_REQUIRES,
    *GYM_REQUIRES,
    *CLUSTER_REQUIRES,
    "pytest>=8",
    "pytest-xdist>=3.5",  # two processes on two cores
    "ruff>=0.6",
    "mypy>=1.11",
]

DEV_REQUIRES = [
    *TEST_REQUIRES,
    "pre-commit>=3.5",
    "coverage>=7",
]

setup(
    name="recsys-po-rl",
    version=VERSION["__version__"],
    description="A RecSim NG application: recommenders that learn by policy gradient from histories and slates",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["recsys_po_rl", "recsys_po_rl.*"]),
        "recsys_po_rl.configs",
        *CONFIG_PACKAGES.values(),
    ],
    package_dir={
        "recsys_po_rl": "recsys_po_rl",
        "recsys_po_rl.configs": "configs",
        **{package: f"configs/{folder}" for folder, package in CONFIG_PACKAGES.items()},
    },
    package_data={
        "recsys_po_rl": ["py.typed"],
        "recsys_po_rl.configs": ["*.gin"],
        **{package: ["*.gin"] for package in CONFIG_PACKAGES.values()},
    },
    py_modules=["recsys_po_rl_cli"],
    entry_points={"console_scripts": ["recsys-po-rl = recsys_po_rl_cli:main"]},
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "test": TEST_REQUIRES,
        "stats": STATS_REQUIRES,
        "data": DATA_REQUIRES,
        "gym": GYM_REQUIRES,
        "stable-baselines3": SB3_REQUIRES,
        "cluster": CLUSTER_REQUIRES,
        "dev": DEV_REQUIRES,
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
