# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Starts a `torch_tests` process, sends it test names, reads the results, and ends it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = "import torch_tests; torch_tests.main()"


class Worker:
    """Runs tests one after the other; a test that does not end is ended with its process."""

    def __init__(self, backend, read_as, world, given):
        self.limit_s = given.timeout
        self.folder = tempfile.TemporaryDirectory(prefix="torch-suite-")
        for name in ("barrier", "test_dir"):
            Path(self.folder.name, name).mkdir()
        self.env = os.environ | {
            "SUITE_BACKEND": backend,
            "SUITE_READ_AS": read_as,
            "SUITE_START": given.start,
            "SUITE_GPUS": "1" if given.gpus else "",
            "WORLD_SIZE": str(world),
            "TEMP_DIR": self.folder.name,
            "INIT_METHOD": f"file://{self.folder.name}/init",  # else torch leaves out the time-outs
            "OMP_NUM_THREADS": "1",
            "DISTRIBUTED_TESTS_DEFAULT_TIMEOUT": str(self.limit_s),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        }
        if not given.gpus:
            self.env["CUDA_VISIBLE_DEVICES"] = ""
        self.env["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # the driver is left to the ranks
        self.process = None

    def open(self):
        """Starts the process; returns how it starts ranks, and which tests torch leaves out."""
        with self._log().open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN],
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        answer = self._answer(2 * self.limit_s)
        if answer is None:
            raise RuntimeError(f"torch's tests do not load:\n{self._log().read_text()}")
        return answer

    def run(self, name):
        """Returns what became of a test, with what it wrote where it has failed."""
        if self.process is None:
            self.open()
        told = self._log().stat().st_size
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        limit_s = 2 * self.limit_s + 30  # some tests have twice the time
        answer = self._answer(limit_s)
        if answer is None:
            reason = f"its process had not answered after {limit_s} s, or has ended"
            answer = {"name": name, "state": "failed", "reason": reason, "seconds": limit_s}
        answer["log"] = ""
        if answer["state"] == "failed":
            with self._log().open("rb") as log:
                log.seek(told)
                answer["log"] = log.read().decode(errors="replace")
        return answer

    def close(self):
        """Ends the process and all that it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.process = None
        self.folder.cleanup()

    def _log(self):
        return Path(self.folder.name, "log")

    def _answer(self, limit_s):
        """Returns its next line; None where there was none in time: the process has ended then."""
        timer = threading.Timer(limit_s, os.killpg, (self.process.pid, signal.SIGKILL))
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if line:
            return json.loads(line)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.process = None
        return None
