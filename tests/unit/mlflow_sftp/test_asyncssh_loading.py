"""asyncssh loads without starting programs, and is what it is when it is imported in the ordinary way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_DESCRIBE = """
import json, sys
started, starts = [], {"subprocess.Popen", "os.posix_spawn", "os.fork"}
sys.addaudithook(lambda event, _: started.append(event) if event in starts else 0)
import %s
import asyncssh.encryption, asyncssh.kex, asyncssh.mac, asyncssh.public_key, ctypes.util, gc
algorithms = [asyncssh.kex.get_kex_algs(), asyncssh.mac.get_mac_algs(), asyncssh.encryption.get_encryption_algs(),
    asyncssh.public_key.get_public_key_algs()]
print(json.dumps({"algorithms": repr(algorithms), "started": started, "collects": gc.isenabled(),
    "finds": ctypes.util.find_library.__module__}))
"""


def _load(module: str) -> dict[str, object]:
    program = [sys.executable, "-c", _DESCRIBE % module]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(not Path("/etc/ld.so.cache").exists(), reason="no linker's cache to answer from")
def test_asyncssh_is_loaded_whole_and_no_program_is_started() -> None:
    ours, plain = _load("mlflow_sftp.wire"), _load("asyncssh")
    assert ours == {
        "algorithms": plain["algorithms"],
        "started": [],
        "collects": True,
        "finds": "ctypes.util",
    }
