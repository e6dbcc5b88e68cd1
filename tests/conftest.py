"""Kernels run under Triton's interpreter here, unless there is a GPU. Triton decorates its own library when it is first imported, so
the variable has to be set before that; kernels are compiled for other targets in processes of their own, which do not see it."""

import os
import sys

import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
