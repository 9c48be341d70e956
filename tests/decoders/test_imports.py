"""The decoders serve without what only training needs."""

import subprocess
import sys


def test_serving_imports_neither_torch_nor_scipy() -> None:
    code = "import sys, cortexwire.decoders; sys.exit(any(m in sys.modules for m in ('torch', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
