"""`python -m keras_tally --cmake-dir`: where CMake finds the package."""

import argparse

from keras_tally import __version__, get_cmake_dir

parser = argparse.ArgumentParser(prog="python -m keras_tally")
parser.add_argument("--version", action="version", version=__version__)
parser.add_argument(
    "--cmake-dir",
    action="store_true",
    required=True,
    help="print the folder of keras_tallyConfig.cmake, for -Dkeras_tally_DIR=...",
)
parser.parse_args()
print(get_cmake_dir())
