import subprocess
import sys

CODE = """
import sys
import provider.engine, provider.models.slots, provider.models.prompt, provider.memory.capacity
import tests.testbed.fake_engine
heavy = {"mlx", "mlx_lm", "transformers", "numpy"}
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy))
"""


def test_importing_the_packages_does_not_import_mlx():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
