# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(":")  # which the interpreter inside Triton leaves out

from painters import Blank as TritonPythonModel  # noqa: E402, F401
